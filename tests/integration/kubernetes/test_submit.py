"""The real kubectl, and `mpo run`'s way of using it, against an emulated API server."""

import os
import threading
import time
from collections.abc import Callable, Sequence

import pytest
import yaml

from cluster.kubernetes import submit
from cluster.manifest import job_name, pods, ray_pods, render
from jobs.configs import named_config
from mpo_core.config import load_config
from mpo_core.errors import InputError
from tests.commandline import mpo, mpo_here
from tests.integration.kubernetes.apiserver import Cluster
from tests.integration.kubernetes.manifests import (
    NAMES,
    OVERLAYS,
    needs_crds,
    needs_kubectl,
    one,
    overlay,
)
from tests.integration.kubernetes.schemas import schema_faults

pytestmark = [needs_kubectl, needs_crds]


@pytest.mark.parametrize("name", ["cpu", "serve"])
def test_an_overlay_is_applied_found_unchanged_shown_and_deleted(name, ready, kubectl):
    folder = str(OVERLAYS / name)
    made = kubectl("apply", "--kustomize", folder).splitlines()
    assert len(made) == len(overlay(name)) and all(line.endswith(" created") for line in made)
    again = kubectl("apply", "--kustomize", folder).splitlines()
    assert len(again) == len(made) and all(line.endswith(" unchanged") for line in again)
    kind = "rayservice" if name == "serve" else "rayjob"
    header, row = kubectl("get", kind, "--namespace=mpo").splitlines()
    assert header.startswith("NAME") and "STATUS" in header and row.startswith("mpo ")
    gone = kubectl("delete", "--kustomize", folder).splitlines()
    assert len(gone) == len(made)
    assert [key for key in ready.objects if key[1] == "mpo"] == []


def test_the_server_refuses_a_planted_typo(ready, kubectl):
    job = one(overlay("cpu"), "RayJob")
    job["spec"]["shutdownAfterJobFinished"] = True
    said = kubectl("apply", "--filename=-", stdin=yaml.safe_dump(job), code=1)
    assert "shutdownAfterJobFinished" in said


def config(*overrides: str):
    return named_config("demo-llm", overrides, unused_models=True)


def objects_of(*overrides: str) -> list[dict]:
    return list(yaml.safe_load_all(render(config(*overrides))))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"serve"}))
def test_a_run_is_its_overlay_with_name_config_namespace_and_image(name):
    objects = objects_of(
        "name=Seed.1",
        "training.beta=0.3",
        "cluster.address=ray://elsewhere:10001",
        f"launch.k8s.overlay={name}",
        "launch.k8s.namespace=team",
        "launch.k8s.image=registry:5000/team/mpo@sha256:12",
    )
    assert [fault for obj in objects for fault in schema_faults(obj)] == []
    assert {obj["metadata"]["namespace"] for obj in objects} == {"team"}
    job = one(objects, "RayJob")
    assert job["metadata"]["name"] == job_name("Seed.1") != "seed-1"
    text = one(objects, "ConfigMap", job_name("Seed.1"))["data"]["config.yaml"]
    assert len(pods(job)) == 3
    for pod in pods(job):
        assert pod["containers"][0]["image"] == "registry:5000/team/mpo@sha256:12"
        for volume in pod.get("volumes", []):
            if volume["name"] == "config":
                assert volume["configMap"]["name"] == job_name("Seed.1")
    inside = yaml.safe_load(text)
    assert inside["runs_dir"] == "/mnt/runs" and inside["cluster"]["address"] is None
    assert inside["training"]["beta"] == 0.3
    # All else is the overlay's.
    assert len(objects) == len(overlay(name))
    assert job["spec"]["entrypoint"] == one(overlay(name), "RayJob")["spec"]["entrypoint"]


KEYS = (
    "models.big={endpoint: https://big.example/v1, api_key_env: BIG_API_KEY}",
    "models.other={endpoint: https://other.example/v1, api_key_env: OTHER_API_KEY}",
)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"serve"}))
def test_the_pods_of_a_run_are_given_the_keys_of_its_endpoints_by_name(name, monkeypatch):
    monkeypatch.setenv("BIG_API_KEY", "a-secret")
    objects = objects_of(*KEYS, f"launch.k8s.overlay={name}")
    assert [fault for obj in objects for fault in schema_faults(obj)] == []
    job = one(objects, "RayJob")
    for pod in ray_pods(job):
        keys = {v["name"]: v.get("valueFrom") for v in pod["containers"][0]["env"]}
        for key in ("BIG_API_KEY", "OTHER_API_KEY"):
            source = {"name": "mpo-secrets", "key": key, "optional": True}
            assert keys[key] == {"secretKeyRef": source}
    assert "a-secret" not in yaml.safe_dump_all(objects)


def test_a_key_that_the_clusters_secret_lacks_is_named(ready, quick, kubectl):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mpo-secrets"}}
    secret |= {"data": {"BIG_API_KEY": "eA=="}}
    kubectl("apply", "--namespace=mpo", "--filename=-", stdin=yaml.safe_dump(secret))
    lines: list[str] = []
    Operator(ready, [SUCCEEDED])
    assert submit(config(*KEYS), lines.append) == 0
    assert lines[0] == (
        "rayjob demo-llm: the secret mpo-secrets lacks OTHER_API_KEY (models.other.api_key_env)"
    )


def test_an_overlay_of_ones_own_stands_on_one_of_the_suites(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    over = {
        "resources": [os.path.relpath(OVERLAYS / "gpu", tmp_path / "mine")],
        "images": [
            {"name": "mpo-suite", "newName": "registry/mpo-suite"},
            {"name": "mpo-mlflow", "newName": "registry/mpo-mlflow"},
        ],
    }
    (tmp_path / "mine" / "kustomization.yaml").write_text(yaml.safe_dump(over))
    monkeypatch.chdir(tmp_path)
    objects = objects_of("launch.k8s.overlay=mine")
    for pod in pods(one(objects, "RayJob")):
        assert pod["containers"][0]["image"] == "registry/mpo-suite:gpu"
    mlflow = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert mlflow["image"] == "registry/mpo-mlflow"


def test_the_config_in_the_cluster_is_the_runs_own(tmp_path):
    text = one(objects_of("seed=7"), "ConfigMap", "demo-llm")["data"]["config.yaml"]
    (tmp_path / "config.yaml").write_text(text)
    assert load_config(tmp_path / "config.yaml") == config("seed=7", "runs_dir=/mnt/runs")


WRONG = [
    ("launch.k8s.overlay=gpus", "launch.k8s.overlay: gpus"),
    ("launch.k8s.overlay=serve", "0 RayJobs"),
    ("prompts_dir=mine", "prompts_dir: mine: a path of this machine"),
    ("tracking.uri=https://me:secret@mlflow.example", "tracking.uri: holds a password"),
    ("models.x={endpoint: 'https://me:secret@x.example/v1'}", "models.x.endpoint: holds a pass"),
]


@pytest.mark.parametrize(("override", "said"), WRONG)
def test_what_cannot_run_there_is_refused_in_one_line(override, said):
    with pytest.raises(InputError) as refused:
        render(config(override))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_without_kubectl_a_cluster_or_the_operator_it_says_so(cluster, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="no RayJob; install the KubeRay operator"):
        submit(config(), print)
    with pytest.raises(InputError, match="context"):
        submit(config("launch.k8s.context=none"), print)
    nobody = Cluster(url="http://127.0.0.1:9")  # The port of `discard`.
    (tmp_path / "nowhere").write_text(nobody.kubeconfig())
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="is the cluster up"):
        submit(config(), print)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="kubectl: not installed"):
        render(config())


class Operator(threading.Thread):
    """What KubeRay would do to the RayJob: its statuses in turn, the last one for good."""

    def __init__(self, cluster: Cluster, statuses: Sequence[dict], name: str = "demo-llm") -> None:
        super().__init__(daemon=True)
        self.cluster, self.statuses, self.name_of_job = cluster, statuses, name
        self.start()

    def run(self) -> None:
        key = ("rayjobs", "mpo", self.name_of_job)
        wait_for(lambda: key in self.cluster.objects and "status" not in self.cluster.objects[key])
        for status in self.statuses:
            self.cluster.set_status(*key, **status)
            time.sleep(0.4)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


START = [
    {"jobDeploymentStatus": "Initializing"},
    {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "jobId": "demo-llm-1"},
]
SUCCEEDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
FAILED = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("cluster.kubectl.POLL_S", 0.1)


@pytest.mark.parametrize(("end", "code"), [(SUCCEEDED, 0), (FAILED, 1)])
def test_mpo_run_shows_the_jobs_log_and_has_its_exit_code(end, code, ready):
    operator = Operator(ready, [*START, *[{}] * 30, end])
    # The submitter's pod comes a while after the status.
    pod = threading.Timer(6, log_of_submitter, [ready])
    pod.start()
    done = mpo("run", "demo-llm", "--on", "k8s")
    pod.join()
    operator.join()
    assert done.returncode == code, done.stdout + done.stderr
    assert "episodes played" in done.stdout
    assert end["jobDeploymentStatus"] in done.stdout.splitlines()[-1]


def test_a_dry_run_prints_the_manifest_that_kubectl_would_take(ready, kubectl):
    done = mpo_here("run", "demo-llm", "seed=3", "--on", "k8s", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout == render(config("seed=3"))
    kubectl("apply", "--filename=-", stdin=done.stdout)
    assert ("rayjobs", "mpo", "demo-llm") in ready.objects


def test_a_run_that_failed_is_tried_again_by_the_operator_and_then_fails(ready, quick):
    retried = [*START, {"jobDeploymentStatus": "Retrying"}, {**START[1], "jobId": "demo-llm-2"}]
    lines: list[str] = []
    Operator(ready, [*retried, FAILED])
    assert submit(config(), lines.append) == 1
    assert any("Retrying" in line for line in lines) and "AppFailed" in lines[-1]


def test_a_run_that_ended_is_submitted_again_and_goes_on_in_its_folder(ready, quick):
    Operator(ready, [FAILED])
    assert submit(config(), print) == 1
    first = ready.get("rayjobs", "mpo", "demo-llm")["metadata"]["uid"]
    # Volumes that are there stay as they are, though another overlay wants them otherwise.
    claims = {key: dict(obj) for key, obj in ready.objects.items() if "claim" in key[0]}
    Operator(ready, [*START, SUCCEEDED])
    assert submit(config("launch.k8s.overlay=gpu"), print) == 0
    assert ready.get("rayjobs", "mpo", "demo-llm")["metadata"]["uid"] != first
    assert {key: ready.objects[key] for key in claims} == claims


def test_a_run_in_progress_is_followed_not_submitted_twice(ready, quick):
    lines: list[str] = []
    Operator(ready, START)
    first = threading.Thread(target=submit, args=(config(), lines.append))
    first.start()
    wait_for(lambda: any("Running" in line for line in lines))
    uid = ready.get("rayjobs", "mpo", "demo-llm")["metadata"]["uid"]
    with pytest.raises(InputError, match="in progress in the cluster with another config"):
        submit(config("seed=8"), print)
    second_lines: list[str] = []
    second = threading.Thread(target=submit, args=(config(), second_lines.append))
    second.start()
    wait_for(lambda: any("following" in line for line in second_lines))
    ready.set_status("rayjobs", "mpo", "demo-llm", **SUCCEEDED)
    for thread in (first, second):
        thread.join(30)
    assert "Complete" in second_lines[-1]
    assert ready.get("rayjobs", "mpo", "demo-llm")["metadata"]["uid"] == uid


def test_runs_of_different_names_are_side_by_side(ready, quick):
    for name in ("demo", "Demo"):
        Operator(ready, [SUCCEEDED], job_name(name))
        assert submit(config(f"name={name}"), print) == 0
    assert len([key for key in ready.objects if key[0] == "rayjobs"]) == 2
    assert len([key for key in ready.objects if key[0] == "configmaps"]) == 3


def test_a_rayjob_that_was_deleted_ends_the_following(ready, quick):
    lines: list[str] = []
    follower = threading.Thread(target=submit, args=(config(), lines.append))
    follower.start()
    wait_for(lambda: ("rayjobs", "mpo", "demo-llm") in ready.objects)
    with ready.lock:
        del ready.objects["rayjobs", "mpo", "demo-llm"]
    follower.join(30)
    assert "was deleted" in lines[-1]


def log_of_submitter(cluster: Cluster) -> None:
    """The submitter's Job, as the operator would make it, its pod, and what that printed."""
    labels = {"job-name": "demo-llm"}
    metadata = {"namespace": "mpo", "creationTimestamp": "2026-01-01T00:00:00Z"}
    container = {"name": "submitter", "image": "mpo-suite"}
    cluster.objects["jobs", "mpo", "demo-llm"] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**metadata, "name": "demo-llm"},
        "spec": {"selector": {"matchLabels": labels}},
    }
    cluster.objects["pods", "mpo", "demo-llm-x"] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "name": "demo-llm-x", "labels": labels},
        "spec": {"containers": [container]},
        "status": {"phase": "Running"},
    }
    cluster.logs["demo-llm-x"] = "12 episodes played\n"
