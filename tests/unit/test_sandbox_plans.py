"""The sandbox's language of plans: written, read, and spoiled."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.envs.alfworld.generation.rooms import draw
from mpo_core.envs.alfworld.generation.walkthrough import walkthrough
from mpo_core.envs.alfworld.rules import household_steps
from mpo_core.sandbox.faults import FAULTS, POOR, drawn, spoiled
from mpo_core.sandbox.games import CHANGES, Game, games
from mpo_core.sandbox.knowledge import best, oracle
from mpo_core.sandbox.measure import play
from mpo_core.sandbox.plans import PlanSpec, compose, lamps, places, things
from mpo_core.sandbox.reading import read
from mpo_core.sandbox.repairs import REPAIRS
from mpo_core.sandbox.wording import NONSENSE, PADDING, write
from tests.thoroughness import examples

SEARCH = st.lists(st.sampled_from(sorted(places())), max_size=5, unique=True).map(tuple)
OBJECTS = st.sampled_from(sorted(things() - lamps()))
PLACED = st.builds(
    compose,
    OBJECTS,
    SEARCH,
    prepare=st.sampled_from(("", *CHANGES)),
    place=st.sampled_from(sorted(places())),
    two=st.booleans(),
    opens=st.booleans(),
    sweep=st.booleans(),
)
LIT = st.builds(compose, OBJECTS, SEARCH, lamp=st.sampled_from(sorted(lamps())), lamp_search=SEARCH)
PLANS = st.one_of(PLACED, LIT)
LENGTHS = st.sampled_from(("plain", "long", "short"))
GAMES = st.tuples(st.integers(0, 999), st.sampled_from(("train", "unseen")), st.integers(0, 600))


@given(PLANS, LENGTHS, st.randoms(use_true_random=False))
def test_every_wording_of_a_plan_is_read_as_that_plan(plan: PlanSpec, length, rng):
    plan = replace(plan, length=length)
    assert read(write(plan, rng)) == plan
    assert read(write(plan)) == plan


def test_the_words_follow_from_the_seed_and_are_many():
    plan = best(Game.drawn(0, "train", 3))
    texts = [write(plan, random.Random(seed)) for seed in range(300)]
    assert texts == [write(plan, random.Random(seed)) for seed in range(300)]
    assert len(set(texts)) > 250


def test_without_a_seed_a_plan_is_in_the_teachers_words():
    plan = compose("mug", ["cabinet"], prepare="heat", place="drawer", opens=True)
    taken = ["go to cabinet 1", "open cabinet 1", "take mug 1 from cabinet 1"]
    put = ["go to microwave 1", "heat mug 1 with microwave 1", "go to drawer 1", "open drawer 1",
           "move mug 1 to drawer 1"]  # fmt: skip
    steps = household_steps([*taken, *put])
    said = [line.partition(": ")[2].rstrip(".") for line in write(plan).splitlines()]
    assert said == [f"{step[:1].upper()}{step[1:]}" for step in steps]


@examples(60)
@given(GAMES)
def test_the_teachers_own_plans_are_read_and_win(drawn):
    room = draw(*drawn, 0, 1.0)
    game = Game.of(room)
    steps = household_steps(walkthrough(room))
    plan = read("\n".join(f"Step {n}: {step}." for n, step in enumerate(steps, 1)))
    true = oracle(game)
    assert plan.prepares == true.prepares
    assert [s.verb for s in plan.steps] == [s.verb for s in true.steps]
    assert play(game, plan, 400)[0] or not plan.opens


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Just be lucky.",
        "Step 1: Frobnicate the xyzzy.\n\n7) ???",
        "Take your time.",
        *NONSENSE,
        *PADDING,
    ],
)
def test_what_says_nothing_is_a_plan_without_steps(text: str):
    assert read(text) == PlanSpec(())


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        (
            "1. Search the shelves and the desk for a remotecontrol and grab it.\n"
            "2. Put it on the sofa.",
            compose("remotecontrol", ["shelf", "desk"], place="sofa"),
        ),
        (
            "- Find an egg (often in the fridge!), take it\n- wash the egg in the sink\n"
            "- open the fridge, put the egg in the fridge",
            compose("egg", ["fridge"], prepare="clean", place="fridge", opens=True),
        ),
        (
            "Locate a book on the bed or the dining table, pick it up, then find the desk lamp and "
            "turn it on.",
            compose("book", ["bed", "diningtable"], lamp="desklamp"),
        ),
        (
            "Look into every drawer for a pen.\nTake it to the safe, open that and drop it there.",
            compose("pen", ["drawer"], place="safe", opens=True),
        ),
    ],
)
def test_other_words_are_read_as_far_as_they_go(text: str, plan: PlanSpec):
    assert read(text) == plan


# What each fault may change: attributes of the plan, its steps as a set, or only its text.
CHANGED = {
    "vague": {"search"},
    "wrong_order": {"search"},
    "random_order": {"search"},
    "absent_place": {"search"},
    "shuffled": {"order"},
    "unprepared": {"prepares", "verbs"},
    "unopened": {"opens"},
    "two_searches": {"sweeps"},
    "nonsense": {"verbs"},
    "longer": set(),
    "shorter": set(),
}
assert CHANGED.keys() == FAULTS.keys()


def features(plan: PlanSpec) -> dict:
    looks = [step for step in plan.steps if step.verb == "look" and not step.sweep]
    bare = [replace(step, search=(), opens=False, sweep=False) for step in plan.steps]
    known = [step for step in bare if step.verb not in (*CHANGES, "nonsense")]
    return {
        "search": sorted((step.thing, step.search) for step in looks if not step.again),
        "prepares": plan.prepares,
        "opens": plan.opens,
        "sweeps": plan.sweeps,
        "order": known,
        "verbs": sorted(step.verb for step in plan.steps),
    }


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("seed", range(3))
def test_a_fault_changes_what_it_names_and_nothing_else(name: str, seed: int):
    hit = 0
    for game in games(seed, "train", 24):
        plan = best(game)
        worse = spoiled(plan, game, [name], seed)
        assert worse == spoiled(plan, game, [name], seed)
        before, after = features(plan), features(worse)
        changed = {key for key in before if before[key] != after[key]}
        assert changed <= CHANGED[name], game
        hit += bool(changed) or write(worse) != write(plan)
        assert read(write(worse, random.Random(seed))) == worse.sense
        if name == "shuffled":
            assert sorted(map(repr, plan.steps)) == sorted(map(repr, worse.steps))
    assert hit >= 3


def test_faults_of_one_plan_do_not_disturb_each_other():
    for game in games(1, "train", 24):
        both = spoiled(best(game), game, ["random_order", "unopened"], 5)
        one = spoiled(best(game), game, ["random_order"], 5)
        assert both == spoiled(one, game, ["unopened"], 5)
        assert both.search == one.search


@pytest.mark.parametrize("name", POOR)
def test_a_repair_mends_its_fault_and_leaves_the_others(name: str):
    for game in games(2, "train", 60):
        plan = best(game)
        assert REPAIRS[name](spoiled(plan, game, [name]), game, 1.0) == plan
        assert REPAIRS[name](plan, game, 1.0) == plan
        others = [fault for fault in POOR if fault != name]
        mended = REPAIRS[name](spoiled(plan, game, POOR), game, 1.0)
        assert mended == spoiled(plan, game, others)


def test_drawn_plans_follow_from_the_seed_and_have_every_fault_now_and_then():
    game = next(g for g in games(0, "train", 60) if best(g).prepares and best(g).opens)
    plans = [drawn(game, random.Random(seed)) for seed in range(400)]
    assert plans == [drawn(game, random.Random(seed)) for seed in range(400)]
    assert {plan.prepares for plan in plans} == {"", best(game).prepares}
    assert {plan.opens for plan in plans} == {True, False}
    assert {plan.length for plan in plans} == {"plain", "long", "short"}
    assert len({plan.search for plan in plans}) > 40
    assert any(step.verb == "nonsense" for plan in plans for step in plan.steps)


def test_an_unknown_fault_is_refused():
    game = Game.drawn(0, "train", 0)
    with pytest.raises(ValueError, match="no such fault: typo"):
        spoiled(best(game), game, ["typo"])
