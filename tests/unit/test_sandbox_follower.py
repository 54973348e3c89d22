"""The scripted agent that follows plans in the simulator."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.sandbox.faults import spoiled
from mpo_core.sandbox.follower import Follower, task_plan
from mpo_core.sandbox.games import CHANGES, Game, games, kind
from mpo_core.sandbox.knowledge import best, homes, oracle
from mpo_core.sandbox.measure import PLANNERS, play, successes
from mpo_core.sandbox.plans import PlanSpec, compose
from mpo_core.sandbox.reading import read
from mpo_core.sandbox.simulator import Episode
from mpo_core.sandbox.wording import write
from tests.thoroughness import examples

GENEROUS = 300
GAMES = st.builds(
    Game.drawn,
    st.integers(0, 2**32),
    st.sampled_from(("train", "seen", "unseen")),
    st.integers(0, 3000),
)


@examples(80)
@given(GAMES)
def test_every_game_is_won_by_following_the_oracles_plan_the_best_one_or_none(game: Game):
    for plan in (oracle(game), best(game), None):
        assert play(game, plan, GENEROUS)[0]


@examples(40)
@given(GAMES, st.integers(0, 99))
def test_every_wording_of_a_plan_is_followed_alike(game: Game, seed: int):
    plan = spoiled(best(game), game, ["random_order"], seed)
    assert actions(game, read(write(plan, random.Random(seed)))) == actions(game, plan)


@examples(60)
@given(GAMES, st.randoms(use_true_random=False), st.booleans())
def test_it_wins_from_wherever_another_agent_got_itself(game: Game, rng, planned: bool):
    episode = Episode(game)
    start = episode.reset()
    follower = Follower(start.instruction, start.observation, best(game) if planned else None)
    for number in range(GENEROUS):
        action = follower.act()
        assert action, number
        if number < 40 and rng.random() < 0.5:
            action = rng.choice(episode.commands())
        step = episode.step(action)
        if step.done:
            return
        follower.see(action, step.observation)
    raise AssertionError("not won")


@examples(20)
@given(GAMES)
def test_it_decides_from_the_dialogue_alone(game: Game):
    episode = Episode(game)
    start = episode.reset()
    dialogue = []
    for _ in range(15):
        told = Follower(start.instruction, start.observation, best(game))
        for action, observation in dialogue:
            told.act()
            told.see(action, observation)
        action = told.act()
        assert action == told.act()
        if action is None:
            break
        dialogue.append((action, episode.step(action).observation))
    assert [action for action, _ in dialogue] == actions(game, best(game))[: len(dialogue)]


def test_a_search_goes_through_the_plans_kinds_from_the_highest_number_down():
    game = next(g for g in games(0, "train", 60) if {"drawer", "shelf"} < set(g.kinds))
    plan = compose("penguin", ["shelf", "bathtub", "drawer"], place="sofa")
    visited = [a.removeprefix("go to ") for a in actions(game, plan) if a.startswith("go to")]
    wanted = [p for k in ("shelf", "drawer") for p in game.places if kind(p) == k]
    assert visited[: len(wanted)] == wanted
    assert sorted(visited) == sorted(game.places)


def test_what_a_plan_leaves_out_is_not_done():
    for game in games(2, "train", 60):
        for fault, verbs in (("unprepared", tuple(CHANGES)), ("unopened", ())):
            plan = spoiled(best(game), game, [fault])
            if plan == best(game):
                continue
            done = actions(game, plan, GENEROUS)
            assert not any(action.startswith(verbs) for action in done if verbs)
            assert (fault, play(game, plan, GENEROUS)[0]) != ("unprepared", True)


@pytest.mark.slow
def test_a_second_object_is_fetched_where_it_was_seen_only_if_the_plan_says_so():
    saved = []
    for game in games(4, "train", 240):
        plan = best(game)
        if plan.sweeps:
            fresh = spoiled(plan, game, ["two_searches"])
            saved.append(play(game, fresh, GENEROUS)[1] - play(game, plan, GENEROUS)[1])
    assert min(saved) >= 0
    assert sum(saved) > len(saved) / 2


@pytest.mark.parametrize(
    ("task", "plan"),
    [
        ("put a mug in coffeemachine.", compose("mug", place="coffeemachine")),
        ("put some cd on safe.", compose("cd", place="safe")),
        ("clean some cup and put it in shelf.", compose("cup", prepare="clean", place="shelf")),
        ("put a hot egg in fridge.", compose("egg", prepare="heat", place="fridge")),
        ("cool some pan and put it in cabinet.", compose("pan", prepare="cool", place="cabinet")),
        ("find two pen and put them in desk.", compose("pen", place="desk", two=True)),
        ("look at book under the desklamp.", compose("book", lamp="desklamp")),
        ("examine the mug with the floorlamp.", compose("mug", lamp="floorlamp")),
    ],
)  # fmt: skip
def test_a_task_says_what_is_to_be_done(task: str, plan: PlanSpec):
    assert task_plan(f"Your task is to: {task}") == plan


def test_what_a_room_may_hold_is_searched_in_the_best_order():
    for game in games(0, "unseen", 60):
        wanted = game.goal.object.lower()
        kinds = homes(game, wanted)
        assert set(kinds) <= set(game.kinds) - {game.goal.place.lower()}
        there = {kind(at) for name, at in game.things.items() if kind(name) == wanted}
        assert there <= set(kinds)


@pytest.mark.slow
def test_better_plans_win_more_often():
    played = list(games(7, "unseen", 120, 2.0))
    won = {name: successes(played, planner).total() for name, planner in PLANNERS.items()}
    assert won["oracle"] >= won["best general"] > won["random order"] > won["wrong order"]
    assert won["best general"] > won["unprepared"] > won["poor"]
    assert won["best general"] > won["unopened"]
    assert won["best general"] - max(won["none"], won["poor"]) > 36


def actions(game: Game, plan: PlanSpec | None, steps: int = 100) -> list[str]:
    """What the follower does, until it wins or gives up."""
    episode = Episode(game)
    start = episode.reset()
    follower = Follower(start.instruction, start.observation, plan)
    done = []
    while len(done) < steps and (action := follower.act()):
        done.append(action)
        step = episode.step(action)
        if step.done:
            break
        follower.see(action, step.observation)
    return done
