"""What the tests ask of themselves."""

import re

import pytest

from tests.commandline import ROOT
from tests.scopes import LONGEST, scope_of

TESTS = ROOT / "tests"
OF_A_TEST = re.compile(r"^\s*(?:from|import) tests\.(?:\w+\.)*test_\w+", re.MULTILINE)


def test_what_tests_share_lies_in_modules_that_hold_no_tests():
    files = TESTS.rglob("*.py")
    assert [str(file) for file in files if OF_A_TEST.search(file.read_text(encoding="utf-8"))] == []


def test_every_folder_of_integration_tests_has_a_place_in_the_order():
    folders = {file.parent.name for file in TESTS.glob("integration/*/test_*.py")}
    assert folders == set(LONGEST) and len(LONGEST) == len(folders)


@pytest.mark.parametrize(
    ("test", "scope"),
    [
        ("tests/integration/slurm/test_slurm.py::test_a[x/y::z]", "tests/integration/slurm"),
        ("tests/unit/test_draw.py::test_a", "tests/unit/test_draw.py"),
    ],
)
def test_a_folder_of_integration_tests_and_a_file_of_unit_tests_run_in_one_process(test, scope):
    assert scope_of(test) == scope
