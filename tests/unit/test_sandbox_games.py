"""The simulator of the generated ALFWorld games, without the engine."""

import random
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mpo_core.envs.alfworld.games import TASK_TYPES
from mpo_core.envs.alfworld.generation.pddl import names
from mpo_core.envs.alfworld.generation.rooms import draw
from mpo_core.envs.alfworld.generation.walkthrough import walkthrough
from mpo_core.errors import InputError
from mpo_core.sandbox.games import Game, games
from mpo_core.sandbox.simulator import NOTHING, Episode
from tests.thoroughness import examples

DRAWS = st.tuples(
    st.integers(0, 2**32), st.sampled_from(("train", "seen", "unseen")), st.integers(0, 3000)
)


def test_games_follow_from_the_seed():
    assert list(games(3, "train", 8)) == list(games(3, "train", 8))
    assert list(games(3, "train", 8)) != list(games(4, "train", 8))
    assert list(games(3, "train", 8))[4:] == list(games(3, "train", 4, first=4))
    assert {game.goal.type for game in games(3, "unseen", 6)} == set(TASK_TYPES)


@examples(60)
@given(DRAWS)
def test_the_generators_walkthrough_wins_at_its_last_step(drawn):
    room = draw(*drawn, 0, 1.0)
    game = Game.of(room)
    # One scene's bathtub is a sink by its type: the generator names it otherwise than the engine.
    assume(set(names(room).values()) == {*game.places, *game.things})
    episode = Episode(game)
    steps = [episode.step(command) for command in walkthrough(room)]
    assert [step.done for step in steps] == [False] * (len(steps) - 1) + [True]
    assert all(step.understood and step.observation != NOTHING for step in steps)
    assert (steps[-1].score, steps[-1].success) == (1.0, True)


@examples(25)
@given(DRAWS, st.randoms(use_true_random=False))
def test_what_is_not_offered_does_nothing_and_what_is_offered_does_something(drawn, rng):
    game = Game.drawn(*drawn)
    episode = Episode(game)
    everything = [*game.places, *game.things]
    for _ in range(25):
        offered = episode.commands()
        one, other = rng.choice(everything), rng.choice(everything)
        for command in (f"go to {one}", f"open {one}", f"take {one} from {other}", f"use {one}",
                        f"move {one} to {other}", f"clean {one} with {other}"):  # fmt: skip
            if command not in offered:
                step = episode.step(command)
                assert step.observation == NOTHING
                assert step.understood
                assert episode.commands() == offered
        step = episode.step(rng.choice(offered))
        assert step.observation != NOTHING
        assert step.understood


def test_an_action_is_understood_in_any_wording_of_a_command_and_else_not_at_all():
    game = Game.drawn(0, "train", 0)
    place = next(iter(game.places))
    assert Episode(game).step(f"  Go to the {place.upper()}.") == Episode(game).step(
        f"go to {place}"
    )
    for action in ("dance", "", "go to", "open your heart", f"go to {place} and look"):
        step = Episode(game).step(action)
        assert (step.observation, step.understood, step.done) == (NOTHING, False, False)


def test_episodes_of_one_game_do_not_disturb_each_other():
    game = Game.drawn(1, "train", 2)
    alone, other, beside = Episode(game), Episode(game), Episode(game)
    rng = random.Random(0)
    for _ in range(60):
        command = rng.choice(alone.commands())
        other.step(rng.choice(other.commands()))
        assert alone.step(command) == beside.step(command)


def test_a_new_start_is_a_fresh_episode():
    game = Game.drawn(1, "unseen", 3)
    episode, rng = Episode(game), random.Random(2)
    for _ in range(40):
        episode.step(rng.choice(episode.commands()))
    assert episode.reset() == Episode(game).reset()
    assert episode.commands() == Episode(game).commands()


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"game.tw-pddl": "{}", "traj_data.json": "{}"},
        {"game.tw-pddl": "[", "traj_data.json": "[]"},
    ],
)
def test_a_folder_without_a_generated_game_is_named(tmp_path: Path, files: dict[str, str]):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="not a generated game"):
        Game.load(tmp_path)
