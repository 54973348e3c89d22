"""What is said of names that are not known, and of values that are not right."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import main
from jobs.commands import results
from jobs.configs import named_config
from jobs.same_run import check_beginning
from mpo_core.config.faults import plainly
from mpo_core.errors import InputError
from mpo_core.likeness import meant
from tests.viewed_run import viewed_run

WORDS = st.lists(st.sampled_from(string.ascii_lowercase), min_size=4, unique=True).map("".join)
"""Of letters that differ: which of several like ones stands for which is a matter of its own."""


def said(capsys, *arguments) -> str:
    """What a command that is refused says, in one line."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    return " ".join(re.sub(r"[╭─│╰╮╯]", " ", capsys.readouterr().err).split())


@given(WORDS, st.integers(0, 25), st.lists(WORDS, max_size=4))
def test_a_name_with_one_letter_amiss_is_recognised(name, place, others):
    place %= len(name)
    amiss = name[:place] + "_" + name[place + 1 :]
    assert meant(name, [name, *others]) == f" (did you mean {name}?)"
    assert meant(amiss, [name]) == f" (did you mean {name}?)"
    assert meant("0123456789", others) == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["statsu"], "Did you mean 'status'?"),
        (["train", "dop", "demo"], "'shuffled', 'agent' (did you mean dpo?)"),
        (["tasks", "alfworld", "generat"], "'show', 'generate' (did you mean generate?)"),
        (["tasks", "alfwrld"], "envs.alfwrld: no such environment (did you mean alfworld?)"),
        (["export", "planer", "demo"], "No such command 'planer'. Did you mean 'planner'?"),
        (["run", "dmo"], "nor a preset (did you mean demo?)"),
        (["run", "demo", "pairs.rul=x"], "pairs.rul: unknown key (did you mean rule?)"),
        (["run", "demo", "evaluation.arms=[nnoe]"], "arm 'nnoe' (did you mean none?); known: none"),
        (["run", "demo", "pairs.rule=nestd"], "'significant' (did you mean nested?)"),
        (["run", "demo", "evaluation.splits=[unsen]"], "'unseen' (did you mean unseen?)"),
        (["compare", "--experimnt", "a"], "No such option: --experimnt (Possible options: --exp"),
        (["sweep", "demo", "--over", "seed=1", "--on", "slrm"], "(did you mean slurm?)"),
        (["view", "--port", "70000"], "--port"),
    ],
)
def test_a_slip_is_told_in_plain_words(capsys, arguments, says):
    line = said(capsys, *arguments)
    assert says in line and "Value error" not in line


def test_help_is_not_offered_for_an_option_that_is_no_slip_for_it(capsys):
    assert "Possible" not in said(capsys, "compare", "--html")
    assert "--help" in said(capsys, "compare", "--hepl")


@pytest.mark.parametrize("command", ["status", "view", "compare", "report"])
def test_a_runs_name_that_is_nearly_one_is_recognised(tmp_path, monkeypatch, capsys, command):
    for name in ("demo-seed0", "other"):
        (viewed_run(tmp_path / "runs" / name) / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    for given_name, like in (("demo-sed0", "demo-seed0"), ("runs/othr", "runs/other")):
        assert f"no run's folder (did you mean {like}?)" in said(capsys, command, given_name)
    assert "did you mean" not in said(capsys, command, "zzz")


def test_a_config_of_a_runs_name_that_is_nearly_one_is_recognised(tmp_path):
    (viewed_run(tmp_path / "mine-3") / "config.yaml").touch()
    with pytest.raises(InputError, match=rf"\(did you mean {tmp_path}/mine-3\?\)"):
        named_config(f"{tmp_path}/mine-4")
    with pytest.raises(InputError, match=rf"run's folder \(did you mean {tmp_path}/mine-3\?\):"):
        check_beginning(tmp_path / "mine-4")


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ("Value error, a plan has no text", "a plan has no text"),
        ("Assertion failed, no", "no"),
        ("Input should be a valid string", "Input should be a valid string"),
    ],
)
def test_whose_error_it_was_is_left_out(message, plain):
    assert plainly(message) == plain


def test_the_example_of_serving_asks_a_model_of_its_preset():
    [command] = [c for c in results.app.registered_commands if c.callback is results.serve]
    preset = re.search(r"mpo serve (\S+)", command.epilog)[1]
    asked = re.search(r'"model": "([^"]+)"', command.epilog)[1]
    assert named_config(preset).models[asked].source
