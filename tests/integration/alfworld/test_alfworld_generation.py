"""Generated ALFWorld games, played by the stock package; and generation that is disturbed.

`ALFWORLD_FULL=1` makes 600 games instead of 24 and plays them all (half an hour on two cores).
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
import pytest

from mpo_core.envs.alfworld import generation
from mpo_core.envs.alfworld.games import SPLIT_FOLDERS, TASK_TYPES
from mpo_core.envs.alfworld.generation import generate, proof
from mpo_core.envs.alfworld.generation.play import fault_of
from mpo_core.envs.alfworld.generation.proof import Prover, Provers
from mpo_core.envs.alfworld.generation.rooms import draw
from mpo_core.envs.alfworld.generation.tables import tables
from mpo_core.errors import InputError
from tests.processes import descendants

FULL = bool(os.environ.get("ALFWORLD_FULL"))
COUNTS = (
    {"train": 360, "seen": 120, "unseen": 120} if FULL else {"train": 12, "seen": 6, "unseen": 6}
)
STOCK_NAMES = {
    "train": "train",
    "seen": "eval_in_distribution",
    "unseen": "eval_out_of_distribution",
}
BATCH = 2
GENERATE = """
import json, sys
from pathlib import Path
from mpo_core.envs.alfworld.generation import generate
out, counts, seed, workers = sys.argv[1:]
generate(Path(out), json.loads(counts), seed=int(seed), workers=int(workers))
"""

pytestmark = pytest.mark.timeout(3 * 3600 if FULL else 900)


@pytest.fixture(scope="module")
def games(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alfworld") / "games"
    proven = []
    report = generate(out, COUNTS, seed=3, workers=2, on_game=lambda: proven.append(1))
    print(f"\n{sum(COUNTS.values())} games: {report}")
    print(Counter((scene_room(game), task_type(game)) for game in all_games(out)))
    assert report.games == COUNTS
    assert len(proven) == sum(COUNTS.values())
    return out


def all_games(root: Path) -> list[Path]:
    return sorted(root.glob("*/*/*/game.tw-pddl"))


def task_type(game: Path) -> str:
    return game.parent.parent.name.split("-")[0]


def scene_number(game: Path) -> int:
    return int(game.parent.parent.name.rsplit("-", 1)[1])


def scene_room(game: Path) -> str:
    number = scene_number(game)
    scenes = [scene for scenes in tables().scenes.values() for scene in scenes]
    return next(scene.room for scene in scenes if scene.number == number)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def players_of(pid: int | None = None) -> list[psutil.Process]:
    return descendants("generation.play", of=pid)


def test_every_type_and_room_is_there_and_unseen_scenes_are_not_in_train(games):
    found = all_games(games)
    by_split = {
        split: [game for game in found if game.parent.parent.parent.name == folder]
        for split, folder in SPLIT_FOLDERS.items()
    }
    assert {split: len(games) for split, games in by_split.items()} == COUNTS
    for split, split_games in by_split.items():
        types = Counter(map(task_type, split_games))
        assert types == dict.fromkeys(TASK_TYPES, COUNTS[split] // len(TASK_TYPES))
    assert {scene_room(game) for game in by_split["train"]} == {
        "Kitchen",
        "LivingRoom",
        "Bedroom",
        "Bathroom",
    }
    known = {scene_number(game) for game in by_split["train"] + by_split["seen"]}
    assert not known & {scene_number(game) for game in by_split["unseen"]}
    assert len({game.parent.name for game in found}) == len(found)


def test_the_same_seed_writes_the_same_bytes(games, tmp_path):
    again = tmp_path / "again"
    subprocess.run(
        [sys.executable, "-c", GENERATE, str(again), json.dumps(COUNTS), "3", "3"],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "77"},
    )
    assert contents(again) == contents(games)


def test_fewer_games_are_the_first_of_more(games, tmp_path):
    fewer = tmp_path / "fewer"
    generate(fewer, {"train": 3, "unseen": 2}, seed=3)
    less, more = contents(fewer), contents(games)
    del less["generation.json"]
    assert len(less) == 5 * len(SPLIT_FOLDERS)
    assert less.items() <= more.items()


@pytest.mark.parametrize("split", STOCK_NAMES)
def test_the_stock_environment_plays_every_game_to_its_end(games, split):
    from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv

    paths = zip(
        ("data_path", "eval_id_data_path", "eval_ood_data_path"),
        SPLIT_FOLDERS.values(),
        strict=True,
    )
    stock = AlfredTWEnv(
        {
            "env": {
                "goal_desc_human_anns_prob": 0,
                "task_types": [1, 2, 3, 4, 5, 6],
                "domain_randomization": False,
                "expert_type": "handcoded",
            },
            "dataset": {
                **{name: str(games / folder) for name, folder in paths},
                "num_train_games": -1,
                "num_eval_games": -1,
            },
            "general": {"training_method": "dqn"},
            "rl": {"training": {"max_nb_steps_per_episode": 50}},
        },
        train_eval=STOCK_NAMES[split],
    )
    assert stock.num_games == COUNTS[split]
    env = stock.init_env(batch_size=BATCH)
    played = Counter()
    for _ in range(COUNTS[split] // BATCH):
        _, infos = env.reset()
        files = infos["extra.gamefile"]
        played.update(files)
        assert infos["won"] == [False] * BATCH
        ways = [json.loads(Path(file).read_text())["walkthrough"] for file in files]
        won_after: list[int | None] = [None] * BATCH
        for step in range(max(map(len, ways))):
            # A game that is over does nothing more.
            commands = [way[step] if step < len(way) else "look" for way in ways]
            for command, allowed in zip(commands, infos["admissible_commands"], strict=True):
                assert command in allowed
            _, _, _, infos = env.step(commands)
            for number, won in enumerate(infos["won"]):
                if won and won_after[number] is None:
                    won_after[number] = step + 1
        assert won_after == [len(way) for way in ways], files
    env.close()
    assert set(played.values()) == {1}
    assert len(played) == COUNTS[split]


def test_killed_and_hung_players_change_nothing(tmp_path, monkeypatch):
    """There are more games than workers, so whoever is stopped or killed holds one."""
    limit_s = 25
    monkeypatch.setattr(generation, "Provers", partial(Provers, limit_s=limit_s))
    disturbed = []

    def disturb() -> None:
        if len(disturbed) < 3:
            victim = next(p for p in players_of() if p.pid not in disturbed)
            victim.send_signal(signal.SIGSTOP if len(disturbed) == 1 else signal.SIGKILL)
            disturbed.append(victim.pid)

    counts = {"train": 6, "seen": 2, "unseen": 2}
    quiet = generate(tmp_path / "quiet", counts, seed=3, workers=2)
    started = time.monotonic()
    report = generate(tmp_path / "noisy", counts, seed=3, workers=2, on_game=disturb)
    assert len(disturbed) == 3
    assert time.monotonic() - started > limit_s
    assert not any(psutil.pid_exists(pid) for pid in disturbed)
    assert report.replaced == quiet.replaced == 0
    assert contents(tmp_path / "noisy") == contents(tmp_path / "quiet")
    assert not players_of()


def test_a_killed_generation_leaves_nothing_in_its_place(tmp_path):
    out = tmp_path / "games"
    counts = {"train": 300}
    process = subprocess.Popen(
        [sys.executable, "-c", GENERATE, str(out), json.dumps(counts), "1", "2"]
    )
    try:
        while len(list(tmp_path.glob(".games.*.part/train/*/*/game.tw-pddl"))) < 3:
            assert process.poll() is None
            time.sleep(0.05)
        while not (provers := players_of(process.pid)):
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert not out.exists()
    _, alive = psutil.wait_procs(provers, timeout=60)
    assert not alive
    # What it left does not stand in the way of the next.
    generate(out, {"train": 1}, seed=1)
    assert len(all_games(out)) == 1


def test_an_interrupted_generation_leaves_nothing_at_all(tmp_path):
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "games", {"train": 12}, on_game=interrupt)
    assert not list(tmp_path.iterdir())
    assert not players_of()


def test_what_another_process_made_meanwhile_stays(tmp_path):
    """Two that make the same games at once both have them; anything else is left alone."""
    out, counts = tmp_path / "games", {"train": 2}
    made: list[dict[str, bytes]] = []

    def make_the_same() -> None:
        if not made:
            generate(out, counts)
            made.append(contents(out))

    report = generate(out, counts, on_game=make_the_same)
    assert report.games["train"] == 2
    assert contents(out) == made[0]

    other = tmp_path / "other"

    def take_the_name() -> None:
        other.mkdir(exist_ok=True)
        (other / "notes.txt").write_text("mine")

    with pytest.raises(InputError, match="other: not written"):
        generate(other, counts, on_game=take_the_name)
    assert contents(other) == {"notes.txt": b"mine"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["games", "other"]


def test_a_game_that_is_not_proven_is_replaced_by_the_next_draw(tmp_path, monkeypatch):
    write_walkthrough = generation.walkthrough
    first, second = draw(5, "train", 0, 0, 1.0), draw(5, "train", 0, 1, 1.0)
    monkeypatch.setattr(
        generation,
        "walkthrough",
        lambda room: ["look"] if room == first else write_walkthrough(room),
    )
    report = generate(tmp_path / "games", {"train": 2}, seed=5, workers=2)
    assert report.reasons == {"the walkthrough does not win": 1}
    assert report.replaced == 1
    names = {game.parent.parent.name for game in all_games(tmp_path / "games")}
    assert names == {second.goal.name, draw(5, "train", 1, 0, 1.0).goal.name}
    assert len(list((tmp_path / "games" / "train").iterdir())) == 2


def test_no_false_proof(tmp_path):
    room = draw(5, "train", 0, 0, 1.0)
    assert fault_of(generation._write(tmp_path / "as_drawn", room)) is None

    place = next(r for r in room.receptacles if r.kind == room.goal.place)
    thing = next(t for t in room.things if t.kind == room.goal.object)
    done = [*(t for t in room.things if t != thing), dataclasses.replace(thing, where=place)]
    there = dataclasses.replace(room, things=tuple(done))
    assert fault_of(generation._write(tmp_path / "done", there)) == "won at the start"

    game = generation._write(tmp_path / "longer", room)
    content = json.loads(game.read_text())
    walkthrough = content["walkthrough"]
    for commands, fault in (
        ([*walkthrough, "look"], "won before the walkthrough's end"),
        (walkthrough[:-1], "the walkthrough does not win"),
        (["go to nowhere 1"], "the walkthrough's `go` cannot be done"),
    ):
        game.write_text(json.dumps({**content, "walkthrough": commands}))
        assert fault_of(game) == fault


def test_a_game_that_takes_too_long_is_refused(tmp_path):
    game = generation._write(tmp_path, draw(5, "train", 0, 0, 1.0))
    with Provers(1, limit_s=0.01) as provers:
        ((_, fault),) = provers.prove([game], lambda: pytest.fail("it was not proven"))
    assert fault.startswith("the engine died or took more than 0.01 s")


def test_an_engine_that_does_not_start_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "PLAY", "mpo_core.envs.alfworld.generation.missing")
    with pytest.raises(InputError, match=r"does not start .*No module named"):
        generate(tmp_path / "games", {"train": 4})
    assert not list(tmp_path.iterdir())


def test_a_player_whose_parent_is_gone_ends_though_the_engine_hangs(tmp_path):
    """The alarm: nothing but the kernel is there to end it."""
    game = tmp_path / "game.tw-pddl"
    os.mkfifo(game)  # reading it never ends
    prover = Prover()
    try:
        prover._process.stdin.write(json.dumps([str(game), -9]).encode() + b"\n")
        prover._process.stdin.flush()
        assert prover._process.wait(120) == -signal.SIGALRM
    finally:
        prover.stop()
