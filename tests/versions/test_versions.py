"""The installed versions are ones that the suite fits, also those for GPUs: `make check-gpu`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.versions.borrowed import BORROWERS, Moved, borrowed_names, call, hold
from tests.versions.configurations import presets, trainings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lacking():
    command = [sys.executable, "-m", "tests.versions"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_borrowed_from_inside_libraries_is_where_it_was(lacking):
    assert lacking["borrowed"] == []


def test_every_engine_and_training_of_the_presets_can_be_configured(lacking):
    assert lacking["configurations"] == []


def test_the_presets_have_trainings_of_every_objective_to_configure():
    found = [of for config in presets().values() for of in trainings(config).values()]
    assert {objective for objective, _ in found} == {"sft", "dpo", "pg"}
    assert {own.gpus_per_worker > 0 for _, own in found} == {True, False}
    assert {own.method for _, own in found} == {"lora", "full"}


def test_private_modules_of_ray_are_imported_where_it_is_said_why():
    files = [
        path
        for package in ("mpo_core", "cluster", "jobs")
        for path in (ROOT / package).rglob("*.py")
    ]
    borrowing = {str(path.relative_to(ROOT)) for path in files if any(borrowed_names(path))}
    assert borrowing == set(BORROWERS)


class Held:
    kept: int

    def __init__(self, given):
        self.set_here = given


@pytest.mark.parametrize(
    ("check", "name", "wanted", "said"),
    [
        pytest.param(call, "json.gone:load", None, "No module named 'json.gone'", id="module"),
        pytest.param(
            call, "json:JSONDecoder.gone", None, "JSONDecoder has no gone", id="attribute"
        ),
        pytest.param(call, "json:load", "fp gone", None, id="any keyword"),
        pytest.param(call, "json:detect_encoding", "b gone", "argument 'gone'", id="parameter"),
        pytest.param(call, "json:detect_encoding", "", "argument: 'b'", id="another parameter"),
        pytest.param(hold, f"{__name__}:Held", "kept set_here", None, id="held"),
        pytest.param(hold, f"{__name__}:Held", "kept gone", "have no gone", id="not held"),
    ],
)
def test_what_has_moved_is_named(check, name, wanted, said):
    if said is None:
        check(name, wanted)
        return
    with pytest.raises(Moved, match=said):
        check(name, wanted)
