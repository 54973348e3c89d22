"""The sandbox's tokenizer and chat template, on dialogues as the suite leads them."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.chat_templates import of_folder, turn
from mpo_core.completions import Reply
from mpo_core.envs.base import Reset, Step
from mpo_core.episode import EpisodeProtocol, EpisodeRequest, run_episode
from mpo_core.reading import read_action
from mpo_core.sandbox.faults import drawn
from mpo_core.sandbox.follower import Follower
from mpo_core.sandbox.games import Game, games
from mpo_core.sandbox.knowledge import best
from mpo_core.sandbox.rows import Dialogue, Setting, ids, prompts, spoken
from mpo_core.sandbox.simulator import Episode
from mpo_core.sandbox.vocabulary import UNKNOWN, pretrained, tokenizer, words
from mpo_core.sandbox.wording import NONSENSE, write
from mpo_core.types import Plan, Task
from tests.thoroughness import examples, part

MODES = ("query", "observation", "thought")


class Simulated:
    """The simulator as an environment of the suite's."""

    def __init__(self, game: Game) -> None:
        self.episode = Episode(game)

    async def reset(self, task: Task) -> Reset:
        return self.episode.reset()

    async def step(self, action: str) -> Step:
        return self.episode.step(action)

    async def valid_actions(self) -> list[str]:
        return self.episode.commands()


class Following:
    """A model that answers as the follower would, and keeps what it was asked as tokens."""

    def __init__(self, game: Game, plan, thoughts: bool) -> None:
        start = Episode(game).reset()
        self.follower = Follower(start.instruction, start.observation, plan)
        self.last, self.thoughts, self.asked = "", thoughts, []

    async def chat(self, request) -> list[Reply]:
        messages, begun = request.messages, request.beginning is not None
        asked = pretrained().apply_chat_template(
            messages, add_generation_prompt=not begun, continue_final_message=begun, tokenize=False
        )
        self.asked.append(tokenizer().encode(asked, add_special_tokens=False).ids)
        heard = [m for m in messages if m["role"] == "user"][-1]["content"]
        if self.last:
            observation = heard.removeprefix("Observation: ").partition("\n\n")[0]
            self.follower.see(self.last, observation.partition("\nSome possible")[0])
        self.last = self.follower.act() or "look"
        return [Reply(f"Action: {self.last}" if self.thoughts else f" {self.last}")]


def played(game: Game, plan, text: str | None, *, mode: str, thoughts: bool, listed: int = 0):
    """What a model is asked in an episode, as tokens, and the episode."""
    protocol = EpisodeProtocol(
        plan_mode=mode, temperature=0, max_tokens=32, invalid_limit=3, max_steps=14, example=False,
        thoughts=thoughts, list_actions=listed, seed=0, prompts=prompts().fingerprint, env={},
    )  # fmt: skip
    task = Task(id="alfworld/a/0", env="alfworld", type=game.goal.type, split="train")
    given = None if text is None else Plan.of(task.id, text, "test")
    request = EpisodeRequest.of(task, given, "model", protocol, 0)
    model = Following(game, plan, thoughts)
    return model.asked, asyncio.run(run_episode(request, Simulated(game), model, prompts()))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("thoughts", [True, False])
@pytest.mark.parametrize("listed", [0, 5])
def test_the_training_dialogues_are_those_of_the_suite(mode: str, thoughts: bool, listed: int):
    rng = random.Random(0)
    for number, game in enumerate(games(3, "train", part(12, least=4))):
        plan = None if number % 4 == 3 else drawn(game, rng)
        text = plan and write(plan, rng)
        asked, episode = played(game, plan, text, mode=mode, thoughts=thoughts, listed=listed)
        start = Episode(game).reset()
        dialogue = Dialogue(Setting(game, plan, text, mode), start)
        begun = [] if thoughts else list(ids("Action:"))
        for tokens, taken in zip(asked, episode.turns, strict=True):
            assert tokens == [*dialogue.tokens, *dialogue.prefix, *begun]
            dialogue.said(spoken(taken.action))
            dialogue.heard(taken.observation)


@pytest.mark.slow
def test_whole_dialogues_are_few_tokens():
    rng, counts = random.Random(1), []
    for game in games(4, "unseen", 60, 2.0):
        plan = drawn(game, rng)
        text, thoughts = write(plan, rng), rng.random() < 0.5
        asked, _ = played(game, plan, text, mode=rng.choice(MODES), thoughts=thoughts)
        counts.append(len(asked[-1]))
    assert sum(counts) / len(counts) < 160
    assert max(counts) < 300


@pytest.mark.slow
def test_every_command_is_read_back_as_it_was_said():
    rng, seen = random.Random(2), set()
    for game in games(5, "train", part(300, least=60)):
        episode = Episode(game)
        for _ in range(10):
            seen |= set(episode.commands())
            episode.step(rng.choice(episode.commands()))
        for thing in game.things:
            seen |= {f"take {thing} from {place}" for place in rng.sample(list(game.places), 2)}
            seen |= {f"move {thing} to {place}" for place in rng.sample(list(game.places), 2)}
    assert len(seen) > part(5000, least=1000)
    for command in seen:
        said = tokenizer().decode(ids(f"Action: {command}"))
        assert read_action(said).action == command
        assert tokenizer().decode(ids(command)) == command


GAMES = st.builds(Game.drawn, st.integers(0, 2**32), st.just("train"), st.integers(0, 3000))


@examples(40)
@given(GAMES, st.randoms(use_true_random=False))
def test_answers_to_an_action_that_differ_have_different_tokens(game: Game, rng):
    told: dict[tuple, set[str]] = {}
    for _ in range(2):
        episode = Episode(game)
        for _ in range(40):
            action = rng.choice([*episode.commands(), *(f"open {p}" for p in game.places)])
            observation = episode.step(action).observation
            told.setdefault((action, ids(f"Observation: {observation}")), set()).add(observation)
    assert all(len(answers) == 1 for answers in told.values())
    assert all(tokens for _, tokens in told)


@examples(60)
@given(GAMES, GAMES)
def test_rooms_and_tasks_that_differ_have_different_tokens(one: Game, other: Game):
    def facts(game: Game) -> tuple:
        return game.goal.type, game.goal.object, game.goal.place, game.goal.lamp, list(game.places)

    def tokens(game: Game) -> list[int]:
        return Dialogue(Setting(game, None, None), Episode(game).reset()).tokens

    assert (tokens(one) == tokens(other)) <= (facts(one)[1:] == facts(other)[1:])
    assert words().index(UNKNOWN) not in tokens(one)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("Search for the mugs in every cupboard, cabinets first!", "look mug cabinet"),
        ("1) Check the shelves\n2) pick up a knife", "_step_ look shelf _step_ take knife"),
        ("- Find the desk lamp and turn it on", "_step_ look desklamp use"),
        ("Wash it in the sink, place it on the coffee table.", "clean sinkbasin put coffeetable"),
        ("Grab some potatoes from the refrigerator", "take potato fridge"),
        ("**Step 2:** Locate a second TV stand", "_step_ look another tvstand"),
        ("Frobnicate the xyzzy quickly, 99 times", ""),
        ("Head to the counter, warm an egg with the microwave", "countertop heat egg microwave"),
        ("_go_ _plan_ _step_", ""),
    ],
)  # fmt: skip
def test_other_words_are_read_as_far_as_they_are_known(said: str, means: str):
    assert tokenizer().decode(ids(said)) == means


@given(st.text(max_size=200))
def test_no_text_is_fatal_and_none_holds_an_unknown_word(text: str):
    assert words().index(UNKNOWN) not in ids(text.replace("<", ""))


def test_plans_in_other_words_differ_only_in_what_they_say():
    game = next(g for g in games(0, "train", 60) if best(g).prepares and best(g).opens)
    plan = best(game)
    known = {word for n in range(50) for word in ids(write(plan, random.Random(n)))}
    assert len(known) < 30
    assert set(ids("\n".join(NONSENSE))) <= {words().index(w) for w in ("look", "open", "take")}


@pytest.mark.slow
def test_plans_that_say_other_things_have_other_tokens():
    rng, said = random.Random(0), {}
    for game in games(0, "train", 40):
        for _ in range(40):
            plan = drawn(game, rng)
            said.setdefault(ids(write(plan, rng)), set()).add(plan.sense)
    assert len(said) > 1200
    assert not [plans for plans in said.values() if len(plans) > 1]


def test_the_suite_can_ask_for_answers_and_train_on_them(tmp_path):
    pretrained().save_pretrained(tmp_path)
    template = of_folder(tmp_path, "agent", None, {})
    asked = [{"role": "user", "content": "Your task is to: put a mug in desk."}]
    given, answer = turn(template, asked, "Action: look")
    assert given.endswith("<bot>")
    assert answer.split() == ["Action:", "look", "<end>"]
