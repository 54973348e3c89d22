import json
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.configs import named_config
from jobs.sweep import Sweep, grid
from mpo_core.errors import InputError


def test_a_grid_has_every_combination_the_last_key_varying_fastest():
    points = grid("demo", ["seed=0,1", "training.beta=0.05,0.1"])
    assert [point.overrides for point in points] == [
        ("seed=0", "training.beta=0.05"),
        ("seed=0", "training.beta=0.1"),
        ("seed=1", "training.beta=0.05"),
        ("seed=1", "training.beta=0.1"),
    ]
    assert points[1].name == "demo-seed0-beta0.1"


def test_values_are_yaml():
    points = grid("demo", ["envs.scienceworld.task_types=[boil],[melt, freeze]"])
    assert [point.overrides for point in points] == [
        ("envs.scienceworld.task_types=[boil]",),
        ("envs.scienceworld.task_types=[melt, freeze]",),
    ]


@given(st.lists(st.integers() | st.floats(allow_nan=False) | st.text(), unique=True, min_size=1))
def test_points_have_names_that_a_run_can_have_or_are_refused(values):
    try:
        points = grid("demo", ["key=" + ", ".join(json.dumps(value) for value in values)])
    except InputError as error:
        assert "given twice" in str(error)
        return
    assert len({point.name for point in points}) == len(values)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", point.name) for point in points)


@pytest.mark.parametrize(
    ("over", "fault"),
    [
        ([], "nothing to sweep over"),
        (["seed"], "dotted.key=value"),
        (["=1,2"], "dotted.key=value"),
        (["seed=1,1"], "given twice"),
        (["seed=1,2", "seed=3"], "seed is given twice"),
        (["name=a,b"], "names the points itself"),
        (["seed=[1"], "not YAML"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(over, fault):
    with pytest.raises(InputError, match=fault):
        grid("demo", over)


def test_every_points_config_is_checked_before_anything_is_started(tmp_path):
    with pytest.raises(InputError, match=r"training\.beta"):
        Sweep("demo", [f"runs_dir={tmp_path}"], ["training.beta=0.1,-1"], "local")
    assert list(tmp_path.iterdir()) == []


def test_a_points_settings_are_those_that_its_command_line_gives(tmp_path):
    sweep = Sweep("demo", [f"runs_dir={tmp_path}"], ["seed=3", "pairs.rule=margin"], "local")
    [point] = sweep.points
    alone = named_config("demo", [f"runs_dir={tmp_path}", *point.overrides, f"name={point.name}"])
    assert sweep.configs[point.name] == alone
    assert sweep.states() == {"demo-seed3-rulemargin": "new"}


@pytest.fixture
def submitted(tmp_path):
    """A sweep one of whose two points was given to Slurm."""
    sweep = Sweep("demo", [f"runs_dir={tmp_path}"], ["seed=0,1"], "slurm")
    sweep.dir.mkdir(parents=True)
    jobs = {"demo-seed0": {"id": "7_0", "place": "slurm"}}
    (sweep.dir / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    return sweep


def test_without_slurm_no_point_is_taken_for_failed(submitted, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="squeue: not found"):
        submitted.run(parallel=1)


@pytest.mark.skipif(not shutil.which("squeue"), reason="no squeue; see `make system`")
def test_while_slurm_does_not_answer_no_point_is_taken_for_failed(submitted, monkeypatch, tmp_path):
    silent = tmp_path / "slurm.conf"
    silent.write_text(
        "ClusterName=silent\nSlurmctldHost=localhost\nSlurmctldPort=1\nMessageTimeout=2\n"
    )
    monkeypatch.setenv("SLURM_CONF", str(silent))
    with pytest.raises(InputError, match=r"squeue: .*unknown which of the sweep's jobs have ended"):
        submitted.run(parallel=1)
