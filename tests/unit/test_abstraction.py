"""The rule-based teacher on what experts of the real environments did."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.abstraction import MOST_STEPS, abstract
from mpo_core.config import Section
from mpo_core.envs.base import suite_class
from mpo_core.errors import InputError
from mpo_core.plan_text import read_plan
from mpo_core.types import Task
from tests.fakes import Doors


def plan(env: str, description: str, actions: str, beginning: str = "") -> str | None:
    task = Task(id=f"{env}/x/1", env=env, type="x", split="train", description=description)
    suite = Doors(Section()) if env == "toy" else suite_class(env)()
    return abstract(suite, task, actions.split("; "), beginning)


def steps(*texts: str) -> str:
    return "\n".join(f"Step {k}: {text}" for k, text in enumerate(texts, 1))


def test_a_place_is_a_kind_and_closed_ones_are_opened():
    assert plan(
        "alfworld",
        "Your task is to: clean some cloth and put it in drawer.",
        "go to cabinet 3; open cabinet 3; take cloth 1 from cabinet 3; go to sinkbasin 1; "
        "clean cloth 1 with sinkbasin 1; go to drawer 2; open drawer 2; move cloth 1 to drawer 2",
    ) == steps(
        "Look for a cloth, first in the cabinets; open those that are closed.",
        "Take the cloth.",
        "Go to the sinkbasin and clean the cloth with it.",
        "Go to a drawer, open it if it is closed, and put the cloth in it.",
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("heat potato 2 with microwave 1", "Go to the microwave and heat the potato with it."),
        ("cool potato 2 with fridge 1", "Go to the fridge and cool the potato with it."),
        ("slice potato 2 with knife 1", "Slice the potato with the knife."),
    ],
)
def test_a_thing_is_changed_with_its_appliance(change, words):
    actions = f"take potato 2 from countertop 1; {change}; put potato 2 in/on countertop 1"
    assert words in plan("alfworld", "", actions).split(": ", 3)[3]


def test_a_kind_that_was_opened_once_may_be_closed_elsewhere():
    actions = (
        "go to drawer 1; open drawer 1; go to drawer 2; take pen 1 from drawer 2; go to safe 1; "
        "move pen 1 to safe 1"
    )
    assert plan("alfworld", "", actions) == steps(
        "Look for a pen, first in the drawers; open those that are closed.",
        "Take the pen.",
        "Go to the safe and put the pen in it.",
    )


def test_what_a_search_did_not_find_leaves_no_trace():
    direct = "go to shelf 1; take pen 1 from shelf 1; go to desk 1; move pen 1 to desk 1"
    searching = (
        "look; go to drawer 1; open drawer 1; close drawer 1; go to safe 1; examine safe 1; "
        + direct
    )
    assert plan("alfworld", "", searching) == plan("alfworld", "", direct)


def test_a_thing_put_down_on_the_way_is_put_where_it_ends():
    assert plan(
        "alfworld",
        "",
        "take egg 1 from fridge 1; move egg 1 to countertop 1; take egg 1 from countertop 1; "
        "move egg 1 to diningtable 1",
    ) == steps(
        "Look for an egg, first in the fridge.",
        "Take the egg.",
        "Go to the diningtable and put the egg on it.",
    )


def test_two_objects_go_to_the_same_place():
    assert plan(
        "alfworld",
        "Your task is to: put two vase in coffeetable.",
        "go to shelf 1; take vase 1 from shelf 1; go to coffeetable 1; move vase 1 to coffeetable "
        "1; go to shelf 2; take vase 2 from shelf 2; go to coffeetable 1; move vase 2 to "
        "coffeetable 1",
    ) == steps(
        "Look for a vase, first on the shelves.",
        "Take the vase.",
        "Go to the coffeetable and put the vase on it.",
        "Go back to the shelves for another vase and take it.",
        "Put it on the same coffeetable as the first.",
    )


def test_a_thing_is_carried_to_the_lamp():
    assert plan(
        "alfworld",
        "Your task is to: examine the pen with the desklamp.",
        "go to bed 1; take pen 1 from bed 1; go to dresser 1; use desklamp 1",
    ) == steps(
        "Look for a pen, first on the bed.",
        "Take the pen.",
        "Carry the pen and look for a desklamp, first on the dresser.",
        "Use the desklamp while holding the pen.",
    )


def test_attempts_in_vain_are_left_out_and_the_last_place_counts():
    assert plan(
        "scienceworld",
        "Your task is to boil water. For compounds without a boiling point, combusting the "
        "substance is also acceptable. First, focus on the substance.",
        "open door to kitchen; go to kitchen; look around; pick up thermometer; open cupboard; "
        "pick up metal pot; move metal pot to sink; activate sink; deactivate sink; pick up metal "
        "pot; open door to bathroom; go to bathroom; move metal pot to sink; activate sink; "
        "deactivate sink; pick up metal pot; focus on substance in metal pot; pour metal pot into "
        "metal pot; go to kitchen; move metal pot to stove; activate stove; pick up metal pot; "
        "go to outside; go to foundry; open blast furnace; move metal pot to blast furnace; "
        "activate blast furnace; use thermometer in inventory on substance in metal pot; wait1",
    ) == steps(
        "Teleport to the kitchen, pick up the thermometer, open the cupboard and pick up the "
        "metal pot.",
        "Teleport to the bathroom and fill the metal pot with water at the sink.",
        "Focus on the water.",
        "Teleport to the foundry, open the blast furnace, move the metal pot to it and activate "
        "it.",
        "Use the thermometer on the water and wait until it boils or burns.",
    )


def test_what_must_freeze_before_it_melts_is_waited_for():
    text = plan(
        "scienceworld",
        "Your task is to melt water. First, focus on the substance.",
        "go to kitchen; focus on substance in metal pot; open freezer; move metal pot to freezer; "
        "examine substance in metal pot; wait; pick up metal pot; move metal pot to stove; "
        "activate stove; examine ice",
    )
    assert text == steps(
        "Teleport to the kitchen and focus on the water.",
        "Open the freezer, move the metal pot to it and wait until it is frozen.",
        "Move the metal pot to the stove and activate it.",
        "Use the thermometer on the water and wait until it melts.",
    )


def test_a_result_decides_the_box_not_the_plan():
    text = plan(
        "scienceworld",
        "Your task is to determine if apricot is electrically conductive. First, focus on the "
        "apricot. If it is electrically conductive, place it in the orange box. If it is "
        "electrically nonconductive, place it in the yellow box.",
        "pick up apricot; focus on apricot; open door to workshop; go to workshop; drop apricot; "
        "connect battery anode to red wire terminal 1; connect battery cathode to orange wire "
        "terminal 1; connect red wire terminal 2 to blue light bulb cathode; connect yellow wire "
        "terminal 2 to anode in blue light bulb; connect apricot terminal 1 to orange wire "
        "terminal 2; wait1; wait1; look around; move apricot to yellow box",
        "This room is called the living room. In it, you see: an apricot.",
    )
    assert text == steps(
        "Teleport to the living room, pick up the apricot and focus on it.",
        "Teleport to the workshop and connect the battery, the light bulb and the apricot in a "
        "circuit with wires.",
        "Wait and look whether the circuit is powered.",
        "Move the apricot to the box that the task names for the result.",
    )


@pytest.mark.parametrize(
    ("description", "actions", "expected"),
    [
        (
            "Your task is to find a(n) animal. First, focus on the thing. Then, move it to the "
            "blue box in the bedroom.",
            "go to outside; focus on egg turtle; pick up egg turtle; go to kitchen; go to "
            "bedroom; move egg turtle egg in inventory to blue box",
            steps(
                "Teleport to outside and look around for any animal.",
                "Focus on it and pick it up.",
                "Teleport to the bedroom and move it to the blue box.",
            ),
        ),
        (
            "Your task is to find the animal with the longest life span, then the shortest life "
            "span. First, focus on the animal with the longest life span.",
            "go to outside; focus on baby baby elephant; focus on baby baby mouse",
            steps(
                "Teleport to outside and look around for the animal with the longest life span.",
                "Focus on it.",
                "Look around for the animal with the shortest life span.",
                "Focus on it.",
            ),
        ),
        (
            "Your task is to focus on the 3 life stages of the beaver, starting from earliest to "
            "latest.",
            "go to outside; focus on baby beaver in outside; wait1; focus on juvenile beaver in "
            "outside; wait1; focus on adult beaver in outside",
            steps(
                "Teleport to outside and look around for the life stages of the beaver.",
                "Focus on each, from the earliest to the latest.",
                "Wait for the stages that are not there yet.",
            ),
        ),
    ],
)
def test_what_is_sought_is_named_as_the_task_names_it(description, actions, expected):
    assert plan("scienceworld", description, actions) == expected


def test_what_is_done_to_many_is_said_once():
    assert plan(
        "scienceworld",
        "Your task is to grow a banana. This will require growing several plants, and them being "
        "crosspollinated to produce fruit.",
        "go to workshop; pick up seed jar; go to greenhouse; move banana seed in seed jar to "
        "flower pot 2; 0; move banana seed in seed jar to flower pot 3; 0; activate sink; move "
        "jug to sink; pour jug into flower pot 2; move jug to sink; pour jug into flower pot 3; "
        "deactivate sink; wait1; wait1; activate sink; move jug to sink; pour jug into flower pot "
        "2; deactivate sink; close door to hallway; close door to outside; open bee hive; wait1; "
        "focus on banana in organism; 0",
    ) == steps(
        "Teleport to the workshop and pick up the seed jar.",
        "Teleport to the greenhouse and move the banana seeds to the flower pots.",
        "Fill the jug with water at the sink and pour the water into the flower pots.",
        "Close the doors, open the bee hive and wait until there is fruit, watering again when "
        "it is dry.",
        "Focus on the banana.",
    )


def test_mixing_goes_on_after_a_focus():
    text = plan(
        "scienceworld",
        "Your task is to use chemistry to create red-orange paint.",
        "go to art studio; pour cup containing red paint in art studio in jug; pour cup "
        "containing yellow paint in desk in jug; mix jug; focus on orange paint; open closet; "
        "open cupboard; pour cup containing red paint in jug; mix jug; focus on paint in jug",
    )
    assert text == steps(
        "Teleport to the art studio and pour the red paint and the yellow paint into the jug.",
        "Mix what is in the jug.",
        "Focus on the orange paint.",
        "Pour the red paint into the jug.",
        "Mix what is in the jug.",
        "Focus on the paint.",
    )


@pytest.mark.parametrize("env", ["alfworld", "scienceworld"])
def test_actions_that_tell_nothing_give_no_plan(env):
    assert plan(env, "", "look around; inventory; dance") is None


def test_an_environment_without_rules_needs_a_model():
    with pytest.raises(InputError, match=r"toy: .*let a model teach \(seeds\.teacher\)"):
        plan("toy", "", "knock")


NAMES = st.sampled_from(
    [
        "apple 1",
        "cabinet 12",
        "metal pot",
        "flower pot 3",
        "battery anode",
        "red wire terminal 1",
        "sink",
        "lamp 2",
        "7",
        "substance in metal pot",
        "cup containing water 2",
        "unknown substance B",
        "anode in red light bulb",
        "egg dove egg in inventory",
        "orange box",
        "shelf 4",
    ]
)
ACTIONS = st.one_of(
    st.builds(
        str.format,
        st.sampled_from(
            [
                "go to {}",
                "open {}",
                "focus on {}",
                "pick up {}",
                "mix {}",
                "use {}",
                "activate {}",
                "wait1",
                "0",
            ]
        ),
        NAMES,
    ),
    st.builds(
        str.format,
        st.sampled_from(
            [
                "take {} from {}",
                "move {} to {}",
                "put {} in/on {}",
                "heat {} with {}",
                "slice {} with {}",
                "pour {} in {}",
                "connect {} to {}",
                "use {} on {}",
            ]
        ),
        NAMES,
        NAMES,
    ),
)
DESCRIPTIONS = st.sampled_from(
    [
        "",
        "put 2 apples in shelf 4.",
        "to boil water 2. If so, move it to the red box.",
        "find a(n) plant 3.",
        "life stages of the 3 toads, then stop.",
        "is B conductive",
        "the melting point of lead 5, which is 200.0 degrees",
    ]
)


@given(st.sampled_from(["alfworld", "scienceworld"]), DESCRIPTIONS, st.lists(ACTIONS, max_size=40))
def test_no_plan_holds_a_number_and_every_plan_is_read_as_it_stands(env, description, actions):
    text = plan(env, description, "; ".join(actions))
    if text is None:
        return
    assert read_plan(text).text == text
    lines = text.splitlines()
    assert 1 <= len(lines) <= MOST_STEPS
    for k, line in enumerate(lines, 1):
        assert re.fullmatch(rf"Step {k}: [A-Z][^\d]+\.", line)
