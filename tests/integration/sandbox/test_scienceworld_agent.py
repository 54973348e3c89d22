"""The sandbox's ScienceWorld agent: its games, its words and what it learns from."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.prompts import load_prompts
from mpo_core.sandbox.llama import Shape
from mpo_core.sandbox.scienceworld.agent import SHAPE, Batches, Table, followed, ids
from mpo_core.sandbox.scienceworld.games import STEPS, TYPES, Episode, Game, Goal
from mpo_core.sandbox.scienceworld.plans import PLANNERS, best, drawn, write
from mpo_core.sandbox.scienceworld.vocabulary import pretrained, tokenizer, words
from mpo_core.sandbox.train import Budget, train
from mpo_core.sandbox.vocabulary import UNKNOWN

UNKNOWN_ID = words().index(UNKNOWN)


def game(seed: int) -> Game:
    return Game.drawn(random.Random(seed))


def followed_to_the_end(one: Game, plan) -> Table:
    table = Table(Episode(one), plan, plan and write(one.goal, plan))
    while len(table.actions) < STEPS and table.act(None):
        pass
    return table


@pytest.mark.parametrize("seed", range(60))
def test_the_goal_is_read_from_the_task(seed: int) -> None:
    assert Goal.read(game(seed).task) == game(seed).goal


def test_the_scripted_agent_finds_things_by_the_best_plans_and_seldom_otherwise() -> None:
    games = [one for one in map(game, range(300)) if one.goal.sought]
    won = {
        name: sum(
            followed_to_the_end(one, planner(one.goal, random.Random(n))).last.success
            for n, one in enumerate(games)
        )
        for name, planner in PLANNERS.items()
    }
    assert won["best"] == len(games)
    assert max(won["poor"], won["none"]) <= len(games) / 2


@pytest.mark.parametrize("seed", range(40))
def test_a_plan_without_the_focus_is_obeyed(seed: int) -> None:
    one = game(seed)
    plan = drawn(one.goal, one.animals, random.Random(seed))
    if not one.goal.sought or plan is None or plan.focus:
        return
    assert not any(said.startswith("focus") for said in followed_to_the_end(one, plan).actions)


@pytest.mark.parametrize("seed", range(20))
def test_template_and_tokenizer_read_the_suites_dialogue_as_the_agent_learnt_it(seed: int) -> None:
    one = game(seed)
    table = followed_to_the_end(one, best(one.goal, random.Random(0)))
    prompts, episode = load_prompts("scienceworld"), Episode(one)
    start = episode.reset()
    plan = write(one.goal, table.plan)
    messages = prompts.opening(start.instruction, start.observation, plan, "query", thoughts=False)
    for action in table.actions:
        observation = episode.step(action).observation
        messages.append({"role": "assistant", "content": f"Action: {action}"})
        told = prompts.observation(observation, None, "query")
        messages.append({"role": "user", "content": told})
    text = pretrained().apply_chat_template(messages, tokenize=False)
    assert tokenizer().encode(text, add_special_tokens=False).ids == table.tokens


@pytest.mark.parametrize("seed", range(20))
def test_actions_are_said_word_for_word(seed: int) -> None:
    for action in followed_to_the_end(game(seed), None).actions:
        assert tokenizer().decode(ids(f"Action: {action}")) == f"Action: {action}"


@given(st.text())
def test_words_that_are_not_known_are_skipped(text: str) -> None:
    assert UNKNOWN_ID not in ids(text)


@pytest.mark.parametrize(
    ("view", "kept"),
    [
        ("a bowl (containing a red apple, a banana, an orange, a potato), a drawer.", ""),
        ("\ta wood cup (containing red paint)", ""),
        ("\tA door to the greenhouse (that is open)", ""),
        ("\ta red box (containing nothing)", "red box"),
        ("\ta blue jay egg", "blue jay"),
        ("\ta flower pot 6 (containing a apple tree in the adult stage, soil)", "apple tree"),
    ],
)
def test_of_a_view_animals_plants_and_boxes_stay(view: str, kept: str) -> None:
    assert tokenizer().decode(ids(f"Observation: {view}")) == kept


def test_every_type_is_drawn_and_learned_from() -> None:
    rng = random.Random(0)
    assert {Game.drawn(rng).type for _ in range(200)} == set(TYPES)
    rows = [followed(rng) for _ in range(200)]
    assert all(row.decisions for row in rows)
    assert max(len(row.tokens) for row in rows) < SHAPE.context


def test_a_short_training_learns_something() -> None:
    losses = []
    shape = Shape(len(words()), width=64, layers=2, heads=2, feedforward=128, context=512)
    budget = Budget(minutes=5, tokens=30_000, processes=1)
    train(budget, lambda standing: losses.append(standing.loss), shape, Batches)
    # A running mean, of a few dozen steps.
    assert losses[-1] < 0.7 * losses[0]
