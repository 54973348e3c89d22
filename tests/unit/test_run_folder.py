"""The files of a run's folder: one module names them, each by a name of its own."""

import re
from inspect import signature
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mpo_core.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
FOLDER = RunFolder(Path("runs/mine"))
# A version or split as a run names them: `mpo-2`, `shuffled-0`, `train`.
names = st.from_regex(r"[a-z]{2,9}", fullmatch=True)
versions = names | st.from_regex(r"(mpo|shuffled)-[0-9]", fullmatch=True)


def test_no_other_module_spells_a_path_in_a_runs_folder():
    spelt = re.compile(r"\b(run|opened)\.dir\s*/|run_dir\s*/|/ \"config\.yaml\"")
    sweeps = ROOT / "jobs" / "commands" / "sweep.py"  # A sweep's folder is none of a run's.
    files = [
        path for room in ("jobs", "cluster", "mpo_core") for path in (ROOT / room).rglob("*.py")
    ]
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        if path.name != "run_folder.py" and path != sweeps
        for line in path.read_text(encoding="utf-8").splitlines()
        if spelt.search(line)
    ]
    assert files and found == []


def paths(of: RunFolder, name: str, number: int) -> list[Path]:
    """All of the folder's places, for one version or split and one round."""
    given = {"planner": name, "split": name, "stage": name, "control": name, "version": name}
    given |= {"objective": name, "table": name, "round_number": number}
    found = [
        getattr(of, key) for key, kind in vars(RunFolder).items() if isinstance(kind, property)
    ]
    for key, kind in vars(RunFolder).items():
        if callable(kind) and not key.startswith("_") and kind.__annotations__["return"] is Path:
            asked = [one for one in signature(kind).parameters if one in given]
            found.append(getattr(of, key)(**{one: given[one] for one in asked}))
    return found


@given(versions, st.integers(1, 9))
def test_no_two_things_lie_in_one_place_and_all_lie_in_the_folder(name, number):
    found = paths(FOLDER, name, number)
    assert len(found) > 20 and len(set(found)) == len(found)
    assert all(path.is_relative_to(FOLDER.path) and path != FOLDER.path for path in found)


@given(versions, names)
def test_planners_and_splits_are_read_off_the_names_of_their_plans(
    tmp_path_factory, planner, split
):
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    places = [folder.plans(planner, split), folder.seeds(split)]
    places.append(folder.plans(planner, split, sampled=True))
    for path in places:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [] if planner == "seeds" else [(planner, split, places[0])]
    assert list(folder.planners_plans()) == found
