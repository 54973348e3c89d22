"""The rooms that are drawn for generated ALFWorld games, without the engine."""

import random
import re
import subprocess
import sys
from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.envs.alfworld.generation import generate, pddl
from mpo_core.envs.alfworld.generation.prior import prior
from mpo_core.envs.alfworld.generation.rooms import (
    DEVICES,
    FILL,
    MOST,
    draw,
    furnished,
    homes,
    inhabitants,
)
from mpo_core.envs.alfworld.generation.tables import TASK_TYPES, tables
from mpo_core.envs.alfworld.generation.walkthrough import walkthrough
from mpo_core.errors import InputError
from tests.thoroughness import examples

SPLITS = ("train", "seen", "unseen")
SCENES = {scene.number: scene for scenes in tables().scenes.values() for scene in scenes}
DRAWS = st.tuples(
    st.integers(0, 2**64),
    st.sampled_from(SPLITS),
    st.integers(0, 5000),
    st.integers(0, 7),
    st.sampled_from((0.0, 0.5, 1.0, 3.0, 1e6)),
)


# The tables and the prior


def test_the_layouts_are_read_whole():
    rooms = Counter(scene.room for scene in SCENES.values())
    assert rooms == {"Kitchen": 30, "LivingRoom": 30, "Bedroom": 30, "Bathroom": 30}
    assert all(scene.floor and scene.receptacles for scene in SCENES.values())
    kitchen = SCENES[1]
    sink = next(r for r in kitchen.receptacles if r.kind == "SinkBasin")
    assert sink.id == "Sink|-01.90|+00.97|-01.50|SinkBasin"
    assert (sink.spot.x, sink.spot.z, sink.spot.rotation, sink.spot.horizon) == (-5, -6, 270, 30)


@pytest.mark.slow
def test_reading_the_tables_does_not_import_alfworld():
    code = (
        "import sys; from mpo_core.envs.alfworld.generation.tables import tables; tables(); "
        "print([name for name in sys.modules if name.split('.')[0] in ('alfworld', 'textworld')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_unseen_scenes_are_in_no_other_split():
    numbers = {split: {scene.number for scene in tables().scenes[split]} for split in SPLITS}
    assert numbers["train"] == numbers["seen"]
    assert not numbers["unseen"] & numbers["train"]
    assert len(numbers["unseen"]) == 24
    assert len(numbers["train"]) == 96


def test_the_prior_covers_every_object_of_every_room_and_names_nothing_impossible():
    found = {room: set() for room in prior().places}
    receptacles = {room: set() for room in prior().places}
    for scene in SCENES.values():
        found[scene.room] |= set(inhabitants(scene))
        receptacles[scene.room] |= {receptacle.kind for receptacle in furnished(scene)}
    for room, places in prior().places.items():
        assert set(places) == found[room]
        for thing, weights in places.items():
            assert all(weight > 0 for weight in weights.values()), (room, thing)
            allowed = {kind for kind, held in tables().holds.items() if thing in held}
            assert set(weights) <= allowed, (room, thing)
            assert set(weights) <= receptacles[room], (room, thing)
    kinds = set().union(*receptacles.values())
    assert set(prior().room_for) == kinds
    assert all(room > 0 for room in prior().room_for.values())
    assert set(chain(*prior().standing.values())) <= kinds
    assert tables().affords["toggleable"] <= set(prior().standing)
    assert 0 < prior().elsewhere <= 1


def test_fixtures_stand_apart_and_are_the_same_in_every_game():
    for scene in SCENES.values():
        placed = {receptacle.kind for receptacle in scene.receptacles}
        added = [r for r in furnished(scene) if r not in scene.receptacles]
        assert {r.kind for r in added} == (set(prior().fixtures) & scene.kinds) - placed
        points = Counter((r.spot.x, r.spot.z) for r in furnished(scene))
        assert all(points[r.spot.x, r.spot.z] == 1 for r in added)
        assert len({r.id for r in furnished(scene)}) == len(furnished(scene))
    kitchen = draw(1, "train", 3, 0, 1.0)
    stoves = [r for r in kitchen.receptacles if r.kind == "StoveBurner"]
    assert len(stoves) == prior().fixtures["StoveBurner"]


# Drawn rooms


@given(DRAWS)
@examples(300)
def test_every_room_keeps_the_rules(arguments):
    seed, split, number, attempt, power = arguments
    room = draw(seed, split, number, attempt, power)
    goal, scene = room.goal, SCENES[room.goal.scene]

    assert goal.type == TASK_TYPES[number % len(TASK_TYPES)]
    assert scene in tables().scenes[split]
    assert room.kind == scene.room
    assert scene.room in tables().rooms_of[goal.type]

    # What the task needs is there, and it is not done.
    targets = [thing for thing in room.things if thing.kind == goal.object]
    assert len(targets) >= goal.objects
    assert all(thing.where.kind != goal.place for thing in targets)
    there = {receptacle.kind for receptacle in room.receptacles}
    if goal.lamp:
        assert not goal.place
        assert goal.lamp in {thing.kind for thing in room.things}
        assert goal.lamp in tables().affords["toggleable"]
    else:
        assert goal.place in there
        assert goal.object in tables().holds[goal.place]
    if goal.type in DEVICES:
        affordance, device = DEVICES[goal.type]
        assert device in there
        assert goal.place != device
        assert goal.object in tables().affords[affordance]

    # Everything is of this room, in a place that the tables allow and that is big enough.
    assert set(room.receptacles) == set(furnished(scene))
    held = Counter(thing.where for thing in room.things)
    assert all(count <= prior().room_for[r.kind] for r, count in held.items())
    space = sum(prior().room_for[r.kind] for r in room.receptacles)
    assert len(room.things) <= max(MOST, len(targets) + 1)
    assert len(room.things) <= max(FILL * space, len(targets) + 1)
    for thing in room.things:
        assert thing.kind in scene.kinds
        assert thing.where.kind in homes(scene, thing.kind)

    # The agent sees the room first, and stands where it can.
    assert (room.start.x, room.start.z) in scene.floor
    assert room.start not in {receptacle.spot for receptacle in room.receptacles}

    ids = [item.id for item in (*room.things, *room.receptacles)]
    assert len({pddl.mangled(key).lower() for key in ids}) == len(ids)


@given(DRAWS)
@examples(60)
def test_a_drawn_game_is_well_formed(arguments):
    room = draw(*arguments)
    problem = _parse(pddl.problem(room))
    assert problem[:3] == ["define", ["problem", "game"], [":domain", "alfred"]]
    sections = {section[0]: section[1:] for section in problem[3:]}
    declared = dict(zip(sections[":objects"][::3], sections[":objects"][2::3], strict=True))
    used = {name for fact in sections[":init"] if fact[0] != "=" for name in fact[1:]}
    assert used <= set(declared)
    assert Counter(declared.values())["object"] == len(room.things)
    assert Counter(declared.values())["receptacle"] == len(room.receptacles)
    facts = Counter(fact[0] for fact in sections[":init"])
    assert facts["inReceptacle"] == facts["objectType"] == len(room.things)
    assert facts["atLocation"] == 1
    assert not facts["opened"]
    assert len(sections[":goal"]) == 1
    assert "{" not in pddl.problem(room)
    assert f"{room.goal.object}Type" in pddl.problem(room).split("(:goal")[1]

    assert pddl.GOAL_TEXT in tables().grammar
    assert pddl.GOAL_TEXT not in pddl.grammar(room)
    assert f"Your task is to: {room.text}." in pddl.grammar(room)
    assert room.goal.object.lower() in room.text
    assert (room.goal.place or room.goal.lamp).lower() in room.text

    names = pddl.names(room)
    assert len(set(names.values())) == len(names) == len(room.things) + len(room.receptacles)
    for command in walkthrough(room):
        verb, *words = command.removeprefix("go to ").split(" ")
        named = command.removeprefix("go to ") if command.startswith("go to ") else " ".join(words)
        for name in re.split(" from | to | with ", named):
            assert name in names.values(), (verb, command)


@given(DRAWS)
@examples(30)
def test_the_same_draw_is_the_same_room_whatever_the_global_random_state(arguments):
    random.seed(1)
    one = draw(*arguments)
    random.seed(2)
    assert draw(*arguments) == one


def test_another_seed_split_number_or_attempt_is_another_room():
    drawn = [
        draw(seed, split, number, attempt, 1.0)
        for seed in (0, 1)
        for split in SPLITS
        for number in (0, 6, 24)
        for attempt in (0, 1)
    ]
    assert len({room.arrangement for room in drawn}) == len(drawn)


@pytest.mark.slow
def test_draws_do_not_depend_on_the_hash_seed():
    code = (
        "from mpo_core.envs.alfworld.generation import pddl, rooms; "
        "print([pddl.problem(rooms.draw(5, s, n, 0, 1.0)) for s in ('train', 'seen', 'unseen') "
        "for n in range(6)])"
    )
    ran = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("1", "2")
    ]
    assert ran[0] == ran[1]


def test_types_and_rooms_take_turns():
    rooms = [draw(0, "train", number, 0, 1.0) for number in range(48)]
    assert set(Counter(room.goal.type for room in rooms).values()) == {8}
    for task_type in TASK_TYPES:
        kinds = Counter(room.kind for room in rooms if room.goal.type == task_type)
        assert set(kinds) == set(tables().rooms_of[task_type])
        assert len(set(kinds.values())) == 1


@pytest.mark.slow
def test_train_and_seen_share_no_task():
    names = {
        split: {draw(seed, split, n, 0, 1.0).goal.name for seed in range(4) for n in range(150)}
        for split in SPLITS
    }
    assert not names["train"] & names["seen"]
    assert len(names["seen"]) > 100


def test_tasks_of_two_often_have_a_third():
    rooms = [draw(0, "train", 6 * n + 5, 0, 1.0) for n in range(100)]
    there = Counter(sum(t.kind == room.goal.object for t in room.things) for room in rooms)
    assert set(there) == {2, 3}
    assert there[3] > there[2]


# The prior's power


def _share_in_likeliest(power: float, count: int = 240) -> float:
    """How often a thing lies in the kind of receptacle that its room has and the prior prefers."""
    hits = total = 0
    for number in range(count):
        room = draw(11, "train", number, 0, power)
        scene = SCENES[room.goal.scene]
        for thing in room.things:
            kinds = homes(scene, thing.kind)
            if thing.kind == room.goal.object or len(kinds) < 4:
                continue
            weights = prior().weights(room.kind, thing.kind, kinds, 1.0)
            best = max(zip(weights, kinds, strict=True))
            hits += thing.where.kind == best[1]
            total += 1
    return hits / total


@pytest.mark.slow
def test_power_sharpens_and_flattens_the_prior():
    none, written, sharp = (_share_in_likeliest(power) for power in (0.0, 1.0, 3.0))
    assert none < 0.25
    assert 0.35 < written < 0.65
    assert sharp > 0.7


def test_no_power_is_uniform_over_what_the_tables_allow():
    kinds = homes(SCENES[11], "Apple")
    assert len(set(prior().weights("Kitchen", "Apple", kinds, 0.0))) == 1
    sharp = dict(zip(kinds, prior().weights("Kitchen", "Apple", kinds, 3.0), strict=True))
    assert sharp["Fridge"] == 1
    assert sharp["CounterTop"] == pytest.approx((5 / 9) ** 3)
    assert sharp["GarbageCan"] == pytest.approx((0.7 / 9) ** 3)


# What is asked for


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"counts": {"dev": 3}}, "unknown split 'dev'"),
        ({"counts": {}}, "asks for no games"),
        ({"counts": {"train": 0, "seen": 0}}, "asks for no games"),
        ({"counts": {"train": -1, "seen": 3}}, "asks for no games"),
        ({"counts": {"train": 1}, "prior_power": -1.0}, "prior_power: -1.0"),
        ({"counts": {"train": 1}, "prior_power": float("nan")}, "prior_power: nan"),
        ({"counts": {"train": 1}, "workers": 0}, "workers: 0"),
    ],
)
def test_arguments_without_sense_are_refused(tmp_path, arguments, says):
    with pytest.raises(InputError, match=says):
        generate(tmp_path / "out", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        generate(tmp_path, {"train": 1})
    with pytest.raises(InputError, match="not a folder"):
        generate(tmp_path / "notes.txt", {"train": 1})
    with pytest.raises(InputError, match=r"games: not written \(.*Not a directory"):
        generate(tmp_path / "notes.txt" / "games", {"train": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def _parse(text: str) -> list:
    """A PDDL expression as nested lists; fails where the brackets do not match."""
    tokens = text.replace("(", " ( ").replace(")", " ) ").split()
    stack: list[list] = [[]]
    for token in tokens:
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    ((whole,),) = stack
    return whole
