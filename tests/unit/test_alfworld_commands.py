from hypothesis import assume, given
from hypothesis import strategies as st
from pytest import mark

from mpo_core.envs.alfworld.commands import is_command, resolve

THINGS = st.sampled_from(["apple", "soapbar", "knife", "mug"])
PLACES = st.sampled_from(["fridge", "countertop", "sinkbasin", "toilet", "desk"])
NUMBERS = st.integers(1, 12)
OBJECTS = st.builds("{} {}".format, THINGS, NUMBERS)
RECEPTACLES = st.builds("{} {}".format, PLACES, NUMBERS)
ENGINE_PUT = "move {} to {}"
OLD_PUT = "put {} in/on {}"
WORDINGS = (
    ENGINE_PUT,
    OLD_PUT,
    "put {} in {}",
    "put {} on {}",
    "put {} into {}",
    "put {} onto {}",
    "put {} into/onto {}",
)
COMMANDS = st.one_of(
    st.just("look"),
    st.just("inventory"),
    st.builds("go to {}".format, RECEPTACLES),
    st.builds("examine {}".format, OBJECTS | RECEPTACLES),
    st.builds("take {} from {}".format, OBJECTS, RECEPTACLES),
    st.builds("heat {} with {}".format, OBJECTS, RECEPTACLES),
    st.builds(ENGINE_PUT.format, OBJECTS, RECEPTACLES),
)
ADMISSIBLE = st.lists(COMMANDS, unique=True)


@given(ADMISSIBLE, COMMANDS)
def test_an_admissible_command_means_itself(others: list[str], command: str):
    assert resolve(command, [*others, command]) == command


@given(ADMISSIBLE, COMMANDS, st.data())
def test_case_spaces_articles_and_an_end_are_forgiven(others, command, data):
    words = []
    for word in command.split():
        if word.isalpha() and words and data.draw(st.booleans()):
            words.append(data.draw(st.sampled_from(["the", "a", "an", "The"])))
        words.append(data.draw(st.sampled_from([word, word.upper(), word.capitalize()])))
    gaps = [data.draw(st.sampled_from([" ", "  ", "\t", " \n"])) for _ in range(len(words) + 1)]
    end = data.draw(st.sampled_from(["", ".", "!", " .", "...", ";"]))
    written = gaps[0] + "".join(w + gap for w, gap in zip(words, gaps[1:], strict=True)) + end
    assert resolve(written, dict.fromkeys([*others, command])) == command


@given(ADMISSIBLE, OBJECTS, RECEPTACLES, st.sampled_from(WORDINGS))
@mark.parametrize("own", [ENGINE_PUT, OLD_PUT])
def test_putting_is_understood_in_every_wording(own, others, thing, place, wording):
    command = own.format(thing, place)
    moves = [other for other in others if not other.startswith("move")]
    assert resolve(wording.format(thing, place), [*moves, command]) == command


@given(ADMISSIBLE, st.text(max_size=40))
def test_only_an_admissible_command_is_ever_meant(admissible: list[str], text: str):
    assert resolve(text, admissible) in {None, *admissible}


@given(ADMISSIBLE, COMMANDS, st.sampled_from(WORDINGS[:2]), OBJECTS, RECEPTACLES)
def test_another_command_is_not_understood(admissible, command, wording, thing, place):
    assume(command not in admissible)
    assert resolve(command, admissible) is None
    assume(ENGINE_PUT.format(thing, place) not in admissible)
    assert resolve(wording.format(thing, place), admissible) is None


@mark.parametrize(
    "text",
    [
        "",
        "the",
        "put apple 1",
        "put in fridge 1",
        "move apple 1 fridge 1",
        "put apple 1 under fridge 1",
        "put apple 1 in/on fridge 2",
        "put apple 1 in/on fridge",
        "put apple 11 in fridge 1",
        "go to fridge",
        "gotofridge 1",
        "take apple 1",
        "please go to fridge 1",
    ],
)
def test_what_names_no_admissible_command_is_not_understood(text: str):
    assert resolve(text, ["go to fridge 1", "move apple 1 to fridge 1", "look"]) is None


def test_what_could_mean_two_commands_is_not_understood():
    both = ["put apple 1 in fridge 1", "put apple 1 on fridge 1"]
    assert resolve("put apple 1 in/on fridge 1", both) is None
    assert resolve("put the apple 1 in fridge 1.", both) is None
    assert resolve(both[0], both) == both[0]


@given(COMMANDS)
def test_what_cannot_be_done_now_is_still_a_command(command):
    assert resolve(command, []) is None
    assert is_command(command.upper() + ".")


@mark.parametrize("text", ["", "go", "go to the kitchen", "take apple", "think: look", "fly 1"])
def test_what_has_no_commands_form_is_none(text):
    assert not is_command(text)
