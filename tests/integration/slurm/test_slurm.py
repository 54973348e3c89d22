"""The scripts of `slurm/` on a real Slurm of two nodes, with real environments and Ray.

Most jobs here ask scripted models, which needs no engine; one has the whole loop, engine and
training included.
"""

import json
import subprocess
from pathlib import Path

import psutil
import pytest

from mpo_core.envs.scienceworld import ScienceWorld
from tests.commandline import ROOT
from tests.integration.slurm.accounting import ADDRESSES
from tests.integration.slurm.cluster import CPUS
from tests.small_run import episodes, write_config
from tests.tiny_chat import make_planner

# What the scripts ask for by themselves is a node of the size that training takes.
SMALL = ("--gres=none", "--gpus-per-node=0", "--mem=2000", f"--cpus-per-task={CPUS // 2}")
NODES = {ADDRESSES["node1"], ADDRESSES["node2"]}
pytestmark = pytest.mark.timeout(1200)


def processes_of(job: str) -> list[str]:
    """Command lines of what a job has left on its nodes."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SLURM_JOB_ID") == job:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def with_a_served_planner(runs: Path, **changes) -> Path:
    """The small config with a planner that is no script but a tiny model."""
    tiny = make_planner(runs)
    agent = {"scripted": "tests.scripted:signing_agent"}
    return write_config(
        runs,
        prompts_dir=str(runs / "prompts"),
        models={"tiny": tiny, "agent": agent},
        planner={"model": "tiny", "per_task": 3, "max_tokens": 64, "resamples": 10},
        **changes,
    )


def submit_on_two_nodes(slurm, runs: Path, config: Path) -> tuple[str, Path]:
    """The job's id, and where `signing_agent` leaves the addresses of the nodes it was asked on."""
    signatures = runs / "signatures"
    signatures.mkdir()
    job = slurm.submit(
        *SMALL,
        "--nodes=2",
        ROOT / "slurm" / "mpo_pipeline.sh",
        config,
        cwd=runs,
        MPO_SIGNATURES=str(signatures),
    )
    return job, signatures


@pytest.mark.long
def test_two_nodes_are_one_cluster_that_finishes_the_whole_loop(slurm, runs):
    config = with_a_served_planner(
        runs,
        training={
            "lora": {"rank": 4, "alpha": 8},
            "batch_size": 4,
            "micro_batch_size": 2,
            "max_length": 1024,
            "max_steps": 2,
            "workers": 2,
        },
        evaluation={"splits": ["unseen"], "arms": ["none", "mpo", "expert"], "bootstrap": 200},
        cluster={"rollout_actors": 2},
    )
    job, signatures = submit_on_two_nodes(slurm, runs, config)
    assert slurm.ended(job, 1100) == "COMPLETED"
    assert {path.name for path in signatures.iterdir()} == NODES
    run = runs / "small"
    summary = json.loads((run / "report" / "summary.json").read_text())
    assert [row["arm"] for row in summary["table"]] == ["none", "mpo", "expert"] * 2
    assert summary["trainings"]["mpo"]["engine"] == "DeepSpeedEngine"
    logs = {path.name for path in (slurm.folder / "logs" / job / "attempt_0").glob("*.log")}
    assert logs == {"ray-node1.log", "ray-node2.log"}
    assert processes_of(job) == []


@pytest.mark.long
def test_a_server_answers_until_its_job_is_cancelled(slurm, runs):
    config = with_a_served_planner(runs)
    job = slurm.submit(*SMALL, "--nodelist=node1", ROOT / "slurm" / "serve.sh", config, cwd=runs)
    log = runs / f"mpo-serve-{job}.log"
    slurm.wait_for(lambda: log.is_file() and "ready at" in log.read_text(), "server", 600)
    question = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    url = "http://127.0.0.1:8000/v1/chat/completions"
    ask = ["curl", "--silent", "--show-error", url, "--json", json.dumps(question)]
    answer = subprocess.run(
        ["nsenter", "--net=/run/netns/node1", *ask],  # It listens on loopback of its node.
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(answer.stdout)["usage"]["completion_tokens"] >= 1
    slurm.run("scancel", job)
    assert slurm.ended(job, 60) == "CANCELLED"
    slurm.wait_for(lambda: processes_of(job) == [], "end of all processes", 30)


def test_requeued_and_preempted_on_two_nodes_every_episode_is_played_once(slurm, runs):
    agent = {"scripted": "tests.scripted:signing_agent"}
    models = {"planner": {"scripted": "tests.scripted:planner"}, "agent": agent}
    places = {"rollout_actors": 2, "episodes_in_flight": 2}
    config = write_config(runs, models=models, cluster=places)
    job, signatures = submit_on_two_nodes(slurm, runs, config)
    run = runs / "small"
    slurm.wait_for(lambda: len(episodes(run)) >= 3, "episodes", 300)
    slurm.run("scontrol", "requeue", job)
    played = len(episodes(run))
    slurm.wait_for(lambda: len(episodes(run)) >= played + 3, "more episodes", 300)
    # Slurm warns by what --signal asks for ahead of the time limit.
    make_room(slurm, runs)
    slurm.wait_for(lambda: slurm.job(job)["Restarts"] == "2", "the second restart", 120)
    assert slurm.ended(job, 400) == "COMPLETED"

    summary = json.loads((run / "report" / "summary.json").read_text())
    keys = [episode.key for episode in episodes(run)]
    assert len(keys) == len(set(keys))
    assert summary["episodes"] == len(keys) + len(episodes(run, "evaluation"))
    assert {path.name for path in signatures.iterdir()} == NODES
    log = (runs / f"mpo-{job}.log").read_text()
    assert log.count("warned by Slurm: stopping") == 1
    attempts = sorted(path.name for path in (slurm.folder / "logs" / job).iterdir())
    assert attempts == ["attempt_0", "attempt_1", "attempt_2"]
    assert processes_of(job) == []


def test_preempted_without_a_warning_a_job_is_requeued_too(slurm, runs):
    """No --signal: Slurm ends the job's step."""
    script = runs / "job.sh"
    script.write_text(
        '#!/bin/bash\n#SBATCH --requeue\n. "$MPO_HOME/slurm/ray_cluster.sh"\n'
        "ray_cluster bash -c 'mkdir attempt_${SLURM_RESTART_COUNT:=0}\n"
        "                     [ $SLURM_RESTART_COUNT = 1 ] || sleep 600'\n"
    )
    job = slurm.submit("--cpus-per-task=2", script, cwd=runs)
    slurm.wait_for((runs / "attempt_0").exists, "first attempt", 120)
    make_room(slurm, runs)
    slurm.wait_for(lambda: slurm.job(job)["Restarts"] == "1", "the restart", 60)
    assert slurm.ended(job, 120) == "COMPLETED"


def make_room(slurm, cwd: Path) -> None:
    """A job that needs both nodes and may preempt others."""
    both_nodes = ("--partition=urgent", "--nodes=2", "--exclusive", "--mem=2000")
    slurm.submit(*both_nodes, "--wrap=sleep 1", cwd=cwd)


def test_the_jobs_of_an_array_share_a_node_undisturbed_and_a_cancelled_one_leaves_nothing(
    slurm, runs
):
    suite = ScienceWorld.Config(task_types=["find-animal"], tasks={"unseen": 4})
    config = write_config(runs, envs={"scienceworld": suite.model_dump(exclude_unset=True)})
    plans = runs / "plans.jsonl"
    plans.write_text(
        "".join(
            json.dumps({"id": task.id, "task": "", "workflow": "Step 1: Look around."}) + "\n"
            for task in ScienceWorld(suite).tasks("unseen")
        )
    )
    array = slurm.submit(
        *SMALL,
        f"--cpus-per-task={CPUS // 4}",
        "--nodelist=node1",
        "--array=0,1",
        ROOT / "slurm" / "evaluate_array.sh",
        config,
        "--over",
        "seed=0,1",
        "--plans",
        plans,
        "evaluation.repetitions=6",
        cwd=runs,
    )
    names = [f"small-seed{seed}" for seed in range(2)]
    slurm.wait_for(
        lambda: all(episodes(runs / name, "evaluation") for name in names), "episodes", 400
    )
    ids = [slurm.job(f"{array}_{index}")["JobId"] for index in range(2)]
    slurm.run("scancel", f"{array}_1")
    assert slurm.ended(f"{array}_1", 60) == "CANCELLED"
    slurm.wait_for(lambda: processes_of(ids[1]) == [], "end of all processes", 10)
    assert slurm.ended(f"{array}_0", 400) == "COMPLETED"
    summary = json.loads((runs / names[0] / "report" / "summary.json").read_text())
    assert [(row["seed"], row["arm"]) for row in summary["table"]] == [(0, "none"), (0, "file")]
    assert processes_of(ids[0]) == []
    assert not (runs / names[1] / "report").exists()


def test_ray_counts_the_gpus_and_cpus_that_slurm_gave(slurm, runs):
    script = runs / "job.sh"
    script.write_text(
        '#!/bin/bash\n. "$MPO_HOME/slurm/ray_cluster.sh"\nray_cluster python -c "\n'
        "import json, os, ray\n"
        "ray.init(log_to_driver=False)\n"
        "gpus = ray.remote(num_gpus=2)(lambda: os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "node = ray.nodes()[0]\n"
        "print(json.dumps([node['Resources'], ray.get(gpus.remote()), node['NodeManagerAddress'],\n"
        "                  os.environ['CONTAINED']]))\n"
        '"\n'
    )
    # `env` in place of a container's command.
    job = slurm.submit(
        "--gpus-per-node=2",
        "--cpus-per-task=3",
        script,
        cwd=runs,
        MPO_CONTAINER="env CONTAINED=yes",
    )
    assert slurm.ended(job, 200) == "COMPLETED"
    lines = (runs / f"slurm-{job}.out").read_text().splitlines()
    resources, visible, address, contained = json.loads(lines[-1])
    assert contained == "yes"
    assert (resources["CPU"], resources["GPU"]) == (3, 2)
    assert sorted(visible.split(",")) == ["0", "1"]
    assert address == "127.0.0.1", "a node that is alone listens on loopback"


def test_a_failing_run_fails_the_job_and_says_why(slurm, runs):
    config = write_config(runs)
    job = slurm.submit(
        *SMALL, ROOT / "slurm" / "mpo_pipeline.sh", config, "agent.model=nobody", cwd=runs
    )
    assert slurm.ended(job, 200) == "FAILED"
    assert slurm.job(job)["ExitCode"] == "2:0"
    assert "agent.model: 'nobody' is not in models" in (runs / f"mpo-{job}.log").read_text()
