"""The sandbox's planner and its teacher: words that come back whole, plans that can be read."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.builtin_models import SHIPPED, resolve_source
from mpo_core.errors import InputError
from mpo_core.prompts import load_prompts
from mpo_core.sandbox import planner_vocabulary, prose, vocabulary
from mpo_core.sandbox.faults import drawn
from mpo_core.sandbox.folder import load
from mpo_core.sandbox.games import Game, games
from mpo_core.sandbox.knowledge import best
from mpo_core.sandbox.measure import play
from mpo_core.sandbox.planner import asked, row
from mpo_core.sandbox.reading import read
from mpo_core.sandbox.simulator import ROOM, Episode
from mpo_core.sandbox.teacher import teach
from mpo_core.sandbox.vocabulary import END, UNKNOWN
from mpo_core.sandbox.wording import write

GAMES = st.builds(Game.drawn, st.integers(0, 2**32), st.just("unseen"), st.integers(0, 3000))


def messages(game: Game) -> list[dict[str, str]]:
    start = Episode(game).reset()
    description = f"{start.observation}\n{start.instruction}"
    return load_prompts("alfworld").planner_messages(description)


@given(GAMES, st.integers(0, 2**32))
def test_every_plan_comes_back_letter_by_letter(game, seed):
    rng = random.Random(seed)
    text = write(drawn(game, rng), rng)
    tokens = planner_vocabulary.tokenizer().encode(text).ids
    assert planner_vocabulary.words().index(UNKNOWN) not in tokens
    assert planner_vocabulary.tokenizer().decode(tokens) == text


@given(GAMES, st.integers(0, 2**32))
def test_what_is_trained_on_is_what_engines_and_trl_make_of_the_messages(game, seed):
    text = write(best(game), random.Random(seed))
    tokenizer = planner_vocabulary.pretrained()
    prompt = messages(game)
    begun = tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": text}])
    assert asked(game) == begun
    assert row(game, text).tokens == whole["input_ids"]
    assert tokenizer.decode(row(game, text).tokens[len(begun) :]) == f"{text}{END}"


@given(GAMES)
def test_the_planner_sees_every_kind_of_place_and_how_many(game):
    seen = planner_vocabulary.tokenizer().decode(asked(game))
    for what in game.kinds:
        count = max(int(name.split()[1]) for name in game.places if name.split()[0] == what)
        assert f" {what} {count}" in seen


@given(GAMES, st.integers(0, 2**31))
def test_the_teachers_plans_are_plans_for_the_task(game, seed):
    plan = read(teach(messages(game), seed))
    assert plan.steps[0].thing == game.goal.object.lower()
    assert set(plan.search) <= set(game.kinds)
    assert teach(messages(game), seed) == teach(messages(game), seed)


def test_the_teacher_forgets_each_step_half_of_the_time_and_wins_less_than_the_best_plans():
    played = list(games(3, "unseen", 120, 2.0))
    taught = [read(teach(messages(game), n)) for n, game in enumerate(played)]
    could = [plan for game, plan in zip(played, taught, strict=True) if best(game).prepares]
    assert 0.3 < sum(bool(plan.prepares) for plan in could) / len(could) < 0.7
    won = sum(play(game, plan)[0] for game, plan in zip(played, taught, strict=True))
    most = sum(play(game, best(game, 2.0))[0] for game in played)
    assert won < 0.75 * most


@pytest.mark.parametrize("asked", ["Hello", "Task: boil water", "Your task is to: sing."])
def test_the_teacher_refuses_what_is_no_task_of_alfworld(asked):
    with pytest.raises(InputError, match="ALFWorld"):
        teach([{"role": "user", "content": asked}], 0)


def test_the_teacher_makes_no_plan_without_a_thing():
    asked = f"{ROOM} a desk 1, a cabinet 1.\nYour task is to: put a zebra in desk."
    with pytest.raises(InputError, match=r"does not know what .*put a zebra in desk"):
        teach([{"role": "user", "content": asked}], 0)


@given(GAMES, st.integers(0, 2**32))
def test_prose_names_what_the_plan_is_about_in_words_that_the_agent_knows(game, seed):
    rng = random.Random(seed)
    plan = best(game)
    known = vocabulary.tokenizer().encode(prose.write(plan, rng)).tokens
    named = {step.thing for step in plan.steps} | {step.place for step in plan.steps} - {""}
    assert named <= set(known)
    assert set(plan.search) <= set(known)


def test_the_shipped_models_are_sandbox_models_of_at_most_ten_megabytes_with_their_cards():
    weighs = 0
    for name, folder in SHIPPED.items():
        assert resolve_source(f"builtin:{name}") == folder
        weighs += sum(file.stat().st_size for file in folder.iterdir())
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "mpo sandbox build --minutes" in card
        assert "--seed" in card
        assert load(folder).shape.width == 128
    assert weighs <= 10 * 2**20
    with pytest.raises(InputError, match="sandbox-agent, sandbox-planner, smollm2"):
        resolve_source("builtin:other")
