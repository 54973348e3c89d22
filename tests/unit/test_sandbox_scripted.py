"""The scripted agent as a chat model plays as it does when it is asked directly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.errors import InputError
from mpo_core.reading import read_action
from mpo_core.sandbox import measure
from mpo_core.sandbox.faults import FAULTS, spoiled
from mpo_core.sandbox.games import Game
from mpo_core.sandbox.knowledge import best
from mpo_core.sandbox.reading import read
from mpo_core.sandbox.rows import prompts
from mpo_core.sandbox.scripted import follow
from mpo_core.sandbox.simulator import Episode
from mpo_core.sandbox.wording import write
from tests.thoroughness import examples

STEPS = 14
GAMES = st.builds(
    Game.drawn,
    st.integers(0, 2**32),
    st.sampled_from(("train", "seen", "unseen")),
    st.integers(0, 3000),
)


def wins(game: Game, plan: str | None, thoughts: bool, example: bool) -> bool:
    """Whether it wins a game that it is told as the suite tells an agent."""
    episode, told = Episode(game), prompts()
    start = episode.reset()
    shown = told.example("pick_heat_then_place_in_recep") if example else ()
    dialogue = told.opening(
        start.instruction, start.observation, plan, "query", example=shown, thoughts=thoughts
    )
    begun = [] if thoughts else [{"role": "assistant", "content": "Action:"}]
    for _ in range(STEPS):
        reply = follow([*dialogue, *begun], 0)
        said = reply if thoughts else f"Action:{reply}"
        action = read_action(said).action
        assert action
        step = episode.step(action)
        if step.done:
            return True
        heard = told.observation(step.observation, plan, "query")
        dialogue += [{"role": "assistant", "content": said}, {"role": "user", "content": heard}]
    return False


@examples(40)
@given(GAMES, st.sets(st.sampled_from(sorted(FAULTS)), max_size=3), st.booleans(), st.booleans())
def test_it_wins_by_a_dialogue_what_it_wins_by_itself(game, faults, thoughts, example):
    plan = write(spoiled(best(game), game, sorted(faults), 0))
    followed = measure.play(game, read(plan), STEPS)[0]
    assert wins(game, plan, thoughts, example) == followed
    assert wins(game, None, thoughts, example) == measure.play(game, None, STEPS)[0]


def test_it_refuses_other_environments():
    with pytest.raises(InputError, match="plays ALFWorld, not 'Boil water"):
        follow([{"role": "user", "content": "Boil water."}], 0)
