import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.configs import named_config
from jobs.sweep import Sweep, begin_with_copy, grid
from mpo_core.config import identity, save_config
from mpo_core.errors import InputError
from tests.commandline import ROOT


def test_a_grid_has_every_combination_the_last_key_varying_fastest():
    points = grid("demo-llm", ["seed=0,1", "training.beta=0.05,0.1"])
    assert [point.overrides for point in points] == [
        ("seed=0", "training.beta=0.05"),
        ("seed=0", "training.beta=0.1"),
        ("seed=1", "training.beta=0.05"),
        ("seed=1", "training.beta=0.1"),
    ]
    assert points[1].name == "demo-llm-seed0-beta0.1"


def test_values_are_yaml():
    points = grid("demo-llm", ["envs.scienceworld.task_types=[boil],[melt, freeze]"])
    assert [point.overrides for point in points] == [
        ("envs.scienceworld.task_types=[boil]",),
        ("envs.scienceworld.task_types=[melt, freeze]",),
    ]


@given(st.lists(st.integers() | st.floats(allow_nan=False) | st.text(), unique=True, min_size=1))
def test_points_have_names_that_a_run_can_have_or_are_refused(values):
    try:
        points = grid("demo-llm", ["key=" + ", ".join(json.dumps(value) for value in values)])
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
        (["training={beta: 1, beta: 2}"], "not YAML: beta is given twice"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(over, fault):
    with pytest.raises(InputError, match=fault):
        grid("demo-llm", over)


def test_every_points_config_is_checked_before_anything_is_started(tmp_path):
    with pytest.raises(InputError, match=r"training\.beta"):
        Sweep("demo-llm", [f"runs_dir={tmp_path}"], ["training.beta=0.1,-1"], "local")
    assert list(tmp_path.iterdir()) == []


def test_a_points_settings_are_those_that_its_command_line_gives(tmp_path):
    sweep = Sweep("demo-llm", [f"runs_dir={tmp_path}"], ["seed=3", "pairs.rule=margin"], "local")
    [point] = sweep.points
    alone = named_config(
        "demo-llm", [f"runs_dir={tmp_path}", *point.overrides, f"name={point.name}"]
    )
    assert sweep.configs[point.name] == alone
    assert sweep.states() == {"demo-llm-seed3-rulemargin": "new"}


def test_a_model_with_dots_in_its_name_is_swept_over(tmp_path):
    model = "models.qwen2.5-7b={endpoint: 'http://127.0.0.1/v1'}"
    models = [model, "agent.model=qwen2.5-7b", f"runs_dir={tmp_path}"]
    sweep = Sweep("demo-llm", models, ["models.qwen2.5-7b.timeout_s=1,2"], "local")
    found = [config.models["qwen2.5-7b"].timeout_s for config in sweep.configs.values()]
    assert found == [1, 2]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands in Slurm's place: sbatch writes what it was called with; nothing is ever queued."""
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = {
        "sbatch": f"env > {tmp_path}/environment; echo Submitted batch job 42",
        "srun": "exit 1",
        "squeue": "exit 0",
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def environment() -> dict[str, str]:
        lines = (tmp_path / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    return environment


OF_THE_JOB_AROUND = {
    "SLURM_JOB_ID": "7",
    "SLURM_CPU_BIND": "quiet,mask_cpu:0x1",
    "SLURM_CPUS_PER_TASK": "1",
    "SLURM_MEM_PER_NODE": "1000",
    "SLURM_TRES_PER_TASK": "cpu:1",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_ID": "0",
    "SLURMD_NODENAME": "node1",
    "SBATCH_CPU_BIND": "none",
    "SBATCH_MEM_BIND": "none",
}
THE_USERS = {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "mine", "TOGETHER_API_KEY": "k"}


def test_a_sweep_from_within_an_allocation_hands_none_of_it_on(slurm, tmp_path, monkeypatch):
    for name, value in (OF_THE_JOB_AROUND | THE_USERS).items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    settings = [f"runs_dir={tmp_path / 'runs'}", "tracking.enabled=false"]
    Sweep("demo-llm", settings, ["seed=0,1"], "slurm").run(parallel=2)
    assert OF_THE_JOB_AROUND.keys().isdisjoint(slurm())
    assert THE_USERS.items() <= slurm().items()
    assert dict(os.environ) == before


def test_what_a_profile_sets_for_slurm_stays_where_no_job_is_around(slurm, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("SLURM_CPU_BIND", "verbose")
    settings = [f"runs_dir={tmp_path / 'runs'}", "tracking.enabled=false"]
    Sweep("demo-llm", settings, ["seed=0"], "slurm").run(parallel=1)
    assert slurm()["SLURM_CPU_BIND"] == "verbose"


# As submitit starts it: in a process of one thread, of which a copy may be made.
POINT = """
import sys
from jobs.sweep_job import PointJob
folder, on_slurm = sys.argv[1:]
sys.executable = "true"
PointJob("point.yaml", f"{folder}/done", "identity", on_slurm=bool(on_slurm))()
"""


@pytest.mark.slow
@pytest.mark.parametrize("on_slurm", [False, True])
def test_a_point_in_an_allocations_shell_is_a_job_of_slurm_only_where_it_was_submitted(
    tmp_path, on_slurm
):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "ray_cluster.sh").write_text('echo "$@" > "$MPO_HOME/across"\n')
    around = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "3", "MPO_HOME": str(tmp_path)}
    command = [sys.executable, "-c", POINT, str(tmp_path), "yes" if on_slurm else ""]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | around)
    assert (tmp_path / "across").exists() == on_slurm
    # On Slurm the first of a job's processes says that the point is done.
    assert (tmp_path / "done").exists() != on_slurm


@pytest.fixture
def submitted(tmp_path):
    """A sweep one of whose two points was given to Slurm."""
    sweep = Sweep("demo-llm", [f"runs_dir={tmp_path}"], ["seed=0,1"], "slurm")
    sweep.dir.mkdir(parents=True)
    jobs = {"demo-llm-seed0": {"id": "7_0", "place": "slurm"}}
    (sweep.dir / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    return sweep


def test_without_slurm_no_point_is_taken_for_failed(submitted, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="squeue: not found"):
        submitted.run(parallel=1)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("squeue"), reason="no squeue; see `make system`")
def test_while_slurm_does_not_answer_no_point_is_taken_for_failed(submitted, monkeypatch, tmp_path):
    silent = tmp_path / "slurm.conf"
    silent.write_text(
        "ClusterName=silent\nSlurmctldHost=localhost\nSlurmctldPort=1\nMessageTimeout=2\n"
    )
    monkeypatch.setenv("SLURM_CONF", str(silent))
    with pytest.raises(InputError, match=r"squeue: .*unknown which of the sweep's jobs have ended"):
        submitted.run(parallel=1)


def test_a_sweep_without_tracking_opens_no_store(tmp_path):
    sweep = Sweep(
        "demo-llm", [f"runs_dir={tmp_path}", "tracking.enabled=false"], ["seed=1,2"], "local"
    )
    for point in sweep.points:
        done = sweep._file(point, "done")
        done.parent.mkdir(parents=True, exist_ok=True)
        done.write_text(identity(sweep.configs[point.name]))
    assert set(sweep.run(1).values()) == {"done"}
    assert not list(tmp_path.rglob("mlflow*"))


@pytest.fixture
def finished(tmp_path):
    """A run's folder."""
    run = tmp_path / "finished"
    for name in ("config.yaml", "plans/sft-train.jsonl", "report/summary.json", "mlflow_run_id"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    return run


def test_points_begin_with_a_copy_of_a_run_but_for_what_is_of_that_run_alone(
    tmp_path, finished, monkeypatch
):
    settings = [f"runs_dir={tmp_path}", "tracking.enabled=false"]
    sweep = Sweep("demo", settings, ["seed=1,2"], "local", finished)
    begun = tmp_path / "demo-seed2" / "plans" / "sft-train.jsonl"
    begun.parent.mkdir(parents=True)
    begun.write_text("of its own")

    def played(executor, owed, parallel):
        copied = tmp_path / "demo-seed1"
        files = {str(file.relative_to(copied)) for file in copied.rglob("*") if file.is_file()}
        assert files == {"plans/sft-train.jsonl", "plans/origins.json"}

    monkeypatch.setattr(sweep, "_play", played)
    sweep.run(1)
    # A point that has begun goes on with what it has.
    assert begun.read_text() == "of its own"
    assert (finished / "report" / "summary.json").is_file()


def test_a_copy_that_fails_leaves_no_folder_that_looks_begun(tmp_path, finished):
    (finished / "scores.parquet").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"--from .*finished: cannot be copied.*scores.parquet"):
        begin_with_copy(finished, tmp_path / "new")
    assert not (tmp_path / "new").exists() and not (tmp_path / ".new.partial").exists()


def test_what_is_no_run_is_not_begun_with(tmp_path):
    with pytest.raises(InputError, match=r"--from .*: not a run's folder"):
        Sweep("demo", [f"runs_dir={tmp_path}"], ["seed=1"], "local", tmp_path)


def test_a_sweep_is_refused_before_it_submits_anything(tmp_path):
    sweep = Sweep("demo-llm", [f"runs_dir={tmp_path}"], ["seed=0,1"], "local")
    for point in sweep.configs.values():
        save_config(point, point.run_dir / "config.yaml")
        (point.run_dir / "plans").mkdir()
    Sweep("demo-llm", [f"runs_dir={tmp_path}", "cluster.rollout_actors=2"], ["seed=0,1"], "local")
    with pytest.raises(InputError, match=r"demo-llm-seed0: made with .*training\.beta is 0\.1 th"):
        Sweep("demo-llm", [f"runs_dir={tmp_path}", "training.beta=0.3"], ["seed=0,1"], "local")


def test_a_points_end_holds_for_other_operational_settings_too(tmp_path):
    def states(*overrides: str) -> list[str]:
        given = [f"runs_dir={tmp_path}", "tracking.enabled=false", *overrides]
        return [*Sweep("demo-llm", given, ["seed=0"], "local").states().values()]

    sweep = Sweep("demo-llm", [f"runs_dir={tmp_path}"], ["seed=0"], "local")
    [point] = sweep.points
    done = sweep._file(point, "done")
    done.parent.mkdir(parents=True)
    done.write_text(identity(sweep.configs[point.name]))
    assert states("cluster.rollout_actors=3", "models.smollm2.concurrency=1") == ["done"]
    assert states("evaluation.arms=[none]") == ["new"]


def test_a_model_is_used_where_one_point_uses_it(tmp_path):
    brought = [f"runs_dir={tmp_path}", "models.big={endpoint: 'http://127.0.0.1/v1'}"]
    assert len(Sweep("demo-llm", brought, ["agent.model=smollm2,big"], "local").points) == 2
    with pytest.raises(InputError, match=r"models\.big: used by nothing"):
        Sweep("demo-llm", brought, ["seed=1,2"], "local")
