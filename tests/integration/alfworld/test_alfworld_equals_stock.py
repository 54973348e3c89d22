"""Interleaved sessions of one process against the stock `AlfredTWEnv`, on the same actions.

Each game is played twice: at random, and by its expert with other actions in between. By default
these are 8 games of all six types; ALFWORLD_FULL=1 plays 20, 16 sessions at a time.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from alfworld.agents.environment.alfred_tw_env import TASK_TYPES, AlfredTWEnv

from mpo_core.envs.alfworld.engine import Session, State
from mpo_core.envs.alfworld.expert import expert_actions
from mpo_core.envs.alfworld.generation import generate

FULL = bool(os.environ.get("ALFWORLD_FULL"))
GAMES = 20 if FULL else 8
SESSIONS = 16
ACTIONS = 40
IDLE = ("examine", "look", "inventory", "help")
"""How the commands begin that change nothing."""
NO_COMMANDS = ("fly to the moon", "", "LOOK", "put apple 1 in/on fridge 1", "go to", "{r}")
PADDED = "  look "


@dataclass(frozen=True)
class Script:
    game: Path
    actions: list[str]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A data folder with games of every type."""
    root = tmp_path_factory.mktemp("alfworld") / "data"
    generate(root, {"train": GAMES}, seed=5, workers=1)
    return root


@pytest.fixture(scope="module")
def scripts(root: Path) -> list[Script]:
    games = sorted(root.glob("train/*/*/game.tw-pddl"))
    assert {game.parents[1].name.split("-")[0] for game in games} == set(TASK_TYPES.values())
    return [write(game) for game in games for write in (random_script, expert_script)]


@pytest.mark.timeout(1800 if FULL else 600)
def test_interleaved_sessions_answer_as_the_stock_does_alone(scripts: list[Script], root: Path):
    ours = play_interleaved(scripts, seed=1)
    for number, theirs in play_stock(root, scripts):
        script = scripts[number]
        for step, (our, their) in enumerate(zip(ours[number], theirs, strict=True)):
            assert our == their, (script.game, script.actions[:step])
    won = [states[-1].won for states in ours]
    assert sum(won) >= GAMES
    assert not all(won)


def test_the_order_of_interleaving_does_not_matter(scripts: list[Script]):
    assert play_interleaved(scripts, seed=2) == play_interleaved(scripts, seed=3)


def test_sessions_of_one_game_do_not_disturb_each_other(scripts: list[Script]):
    game = scripts[0].game
    same_game = [random_script(game, seed) for seed in range(SESSIONS)]
    alone = [play_interleaved([script], seed=0)[0] for script in same_game]
    assert play_interleaved(same_game, seed=4) == alone


def test_the_hash_seed_of_the_process_does_not_matter(scripts: list[Script]):
    code = (
        "import json, sys; from dataclasses import asdict; from pathlib import Path; "
        "from mpo_core.envs.alfworld.engine import Session; session = Session(); "
        "game, actions = json.load(sys.stdin); "
        "states = [session.load(Path(game)), *map(session.step, actions)]; "
        "print(json.dumps([asdict(state) for state in states]))"
    )
    script = scripts[1]
    said = json.dumps([str(script.game), script.actions])
    traces = []
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=said,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        traces.append([State(**state) for state in json.loads(done.stdout)])
    assert traces[0] == traces[1] == play_interleaved([script], seed=0)[0]


def random_script(game: Path, seed: int = 0) -> Script:
    """Mostly admissible commands, those preferred that change something, and some that are none."""
    chance = random.Random(f"{game.parent.name} {seed}")
    session = Session()
    state = session.load(game)
    actions = []
    while len(actions) < ACTIONS and not state.won:
        offered = state.admissible_commands
        acts = [c for c in offered if not c.startswith(("go to", *IDLE))]
        draw = chance.random()
        if draw < 0.1:
            action = chance.choice([*NO_COMMANDS, PADDED])
        else:
            action = chance.choice(acts if acts and draw < 0.6 else offered)
        actions.append(action)
        state = session.step(action)
    session.close()
    return Script(game, actions)


def expert_script(game: Path) -> Script:
    """The expert's commands, and others in between that change nothing."""
    chance = random.Random(game.parent.name)
    session = Session()
    wins = expert_actions(game, session)
    state = session.load(game)
    actions = []
    for command in wins:
        if chance.random() < 0.5:
            idle = [c for c in state.admissible_commands if c.startswith(IDLE)]
            actions.append(chance.choice([*idle, *NO_COMMANDS]))
            session.step(actions[-1])
        actions.append(command)
        state = session.step(command)
    session.close()
    assert state.won
    return Script(game, actions)


def play_interleaved(scripts: list[Script], seed: int) -> list[list[State]]:
    """Each script in a session of its own, 16 at a time, in a random order of actions."""
    chance = random.Random(seed)
    traces: list[list[State]] = [[] for _ in scripts]
    sessions = [Session() for _ in scripts[:SESSIONS]]
    for first in range(0, len(scripts), SESSIONS):
        playing = range(first, min(first + SESSIONS, len(scripts)))
        order = [i for i in playing for _ in range(len(scripts[i].actions) + 1)]
        chance.shuffle(order)
        for i in order:
            session, done = sessions[i - first], len(traces[i])
            if done:
                traces[i].append(session.step(scripts[i].actions[done - 1]))
            else:
                traces[i].append(session.load(scripts[i].game))
    for session in sessions:
        session.close()
    return traces


def play_stock(root: Path, scripts: list[Script]) -> Iterator[tuple[int, list[State]]]:
    """What the stock environment shows, and for which script: it has its own order of games."""
    stock = AlfredTWEnv(
        {
            "env": {
                "goal_desc_human_anns_prob": 0,
                "task_types": list(TASK_TYPES),
                "domain_randomization": False,
                "expert_type": "handcoded",
            },
            "dataset": {"data_path": str(root / "train"), "num_train_games": -1},
            "general": {"training_method": "dqn"},
            "rl": {"training": {"max_nb_steps_per_episode": 10**6}},
        }
    )
    assert set(stock.game_files) == {str(script.game) for script in scripts}
    stock.game_files = [str(script.game) for script in scripts]
    waiting = list(enumerate(scripts))
    env = stock.init_env(batch_size=1)
    while waiting:
        [observation], infos = env.reset()
        [game] = infos["extra.gamefile"]
        place = next(i for i, (_, script) in enumerate(waiting) if str(script.game) == game)
        number, script = waiting.pop(place)
        states = [seen(observation, infos)]
        for action in script.actions:
            [observation], _, [done], infos = env.step([action])
            states.append(seen(observation, infos))
            assert done == states[-1].won
        yield number, states
    env.close()


def seen(observation: str, infos: dict) -> State:
    return State(observation, infos["admissible_commands"][0], infos["won"][0])
