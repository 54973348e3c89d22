"""Every overlay renders, is valid against all schemas, and keeps the operator's rules; and these
checks find planted mistakes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.manifest import OVERLAYS
from cluster.resources import Need, check_fits, resource_plan
from jobs.configs import named_config
from mpo_core.config import load_config
from tests.commandline import ROOT
from tests.integration.kubernetes.manifests import (
    K8S,
    NAMES,
    kustomized,
    needs_crds,
    needs_kubectl,
    one,
    overlay,
)
from tests.integration.kubernetes.references import dangling, external, loose_ends
from tests.integration.kubernetes.rules import rule_faults
from tests.integration.kubernetes.schemas import schema_faults

pytestmark = needs_kubectl
PRESETS = {
    "cpu": "demo-llm",
    "gpu": "scienceworld-llama3.1-8b",
    "gpu-multinode": "scienceworld-llama3.1-8b-2node",
}
OPTIONS = ("serve+gcs-fault-tolerance", "gpu+gcs-fault-tolerance", "serve+proxy")
Objects = list[dict[str, Any]]


@pytest.fixture(params=[*NAMES, *OPTIONS])
def objects(request, tmp_path) -> Objects:
    """Every overlay, and those that an option is made for with the option."""
    name, _, component = request.param.partition("+")
    if not component:
        return overlay(name)
    up = "../" * (len(tmp_path.parts) - 1)
    parts = {
        "resources": [up + str(OVERLAYS / name)[1:]],
        "components": [up + str(K8S / "components" / component)[1:]],
        "namespace": "mpo",
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(parts))
    return kustomized(tmp_path)


@needs_crds
def test_an_overlay_is_strictly_valid(objects):
    assert [fault for obj in objects for fault in schema_faults(obj)] == []


def test_an_overlay_keeps_the_rules_of_the_operator_and_of_restricted_pods(objects):
    assert [fault for obj in objects for fault in rule_faults(obj)] == []
    assert loose_ends(objects) == []


def test_what_an_overlay_refers_to_is_there_or_documented_as_external(objects):
    assert {fault.split(" -> ")[1] for fault in dangling(objects)} <= external()


def test_no_more_is_documented_as_external_than_is_needed(tmp_path):
    component = yaml.safe_load_all((K8S / "components/gcs-fault-tolerance/redis.yaml").read_text())
    wanted = {
        fault.split(" -> ")[1]
        for objects in [*map(overlay, NAMES), list(component)]
        for fault in dangling(objects)
    }
    assert wanted == external()


@pytest.mark.parametrize("name", NAMES)
def test_every_object_of_an_overlay_is_in_its_namespace(name):
    assert {obj["metadata"].get("namespace") for obj in overlay(name)} == {"mpo"}


@pytest.mark.parametrize(("name", "preset"), PRESETS.items())
def test_an_overlay_runs_its_preset_and_its_workers_hold_what_that_needs(name, preset):
    config = load_config(OVERLAYS / name / "config.yaml")
    assert config == named_config(preset, ["runs_dir=/mnt/runs"])
    [workers] = one(overlay(name), "RayJob")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    count = workers["replicas"]
    have = Need(count * int(limits["cpu"]), count * int(limits.get("nvidia.com/gpu", 0)))
    check_fits(resource_plan(config), have, config.cluster.free_engines_for_training)


@pytest.mark.parametrize("name", NAMES)
def test_the_pods_run_the_ray_that_the_image_has(name):
    [ray] = [obj for obj in overlay(name) if obj["kind"] in ("RayJob", "RayService")]
    spec = ray["spec"].get("rayClusterSpec") or ray["spec"]["rayClusterConfig"]
    for lock in ("cpu", "gpu"):
        text = (ROOT / "requirements" / f"{lock}.lock").read_text()
        assert f"ray=={spec['rayVersion']}" in re.findall(r"^ray==\S+", text, re.MULTILINE)


def change(*path: str | int, to: Any = None, drop: bool = False) -> Callable[[dict], None]:
    def apply(obj: dict) -> None:
        *parents, last = path
        node = obj
        for key in parents:
            node = node.setdefault(key, {}) if isinstance(node, dict) else node[key]
        if drop:
            del node[last]
        else:
            node[last] = to

    return apply


CLUSTER = ("spec", "rayClusterSpec")
HEAD = (*CLUSTER, "headGroupSpec")
POD = (*HEAD, "template", "spec")
WORKERS = (*CLUSTER, "workerGroupSpecs", 0)
# What is planted, and what is found.
TYPOS = [
    ("RayJob", change("spec", "entrypont", to="x"), "entrypont"),
    ("RayJob", change("spec", "backoffLimit", to="two"), "backoffLimit"),
    ("RayJob", change(*CLUSTER, "autoscalerOptions", "version", to="v3"), "version"),
    ("RayJob", change(*POD, "containers", 0, "imag", to="x"), "imag"),
    ("RayJob", change(*POD, "volumes", 0, "persistentVolumeClaim", "claim", to="x"), "claim"),
    ("RayJob", change(*WORKERS, "groupName", drop=True), "groupName"),
    ("RayJob", change("apiVersion", to="ray.io/v2"), "no such kind"),
    ("RayJob", change("metadata", "label", to={}), "label"),
    ("Deployment", change("spec", "replica", to=1), "replica"),
    ("Deployment", change("spec", "replicas", to="one"), "replicas"),
    ("StatefulSet", change("spec", "serviceNam", to="x"), "serviceNam"),
    ("Role", change("rules", 0, "verb", to=["get"]), "verb"),
    ("RoleBinding", change("roleRef", drop=True), "roleRef"),
]


@needs_crds
@pytest.mark.parametrize(("kind", "plant", "found"), TYPOS)
def test_a_planted_typo_is_found(kind, plant, found):
    obj = next(obj for obj in overlay("cpu") if obj["kind"] == kind)
    assert schema_faults(obj) == []
    plant(obj)
    assert any(found in fault for fault in schema_faults(obj))


RULE = {"policy": "DeleteCluster", "condition": {"jobStatus": "FAILED"}}
BROKEN = [
    (change("metadata", "name", to="a" * 48), "at most 47"),
    (change("metadata", "name", to="1st"), "a letter first"),
    (change("spec", "deletionStrategy", "deletionRules", to=[RULE]), "excludes shutdown"),
    (change("spec", "shutdownAfterJobFinishes", to=False), "ttlSecondsAfterFinished needs"),
    (change("spec", "shutdownAfterJobFinishes", drop=True), "keeps its GPUs"),
    (change("spec", "deletionStrategy", "onSuccess", to={}), "either deletionRules, or both"),
    (change("spec", "entrypoint", to="python $HOME/x.py"), "entrypoint"),
    (change("spec", "runtimeEnvYAML", to="- a"), "runtimeEnvYAML"),
    (change("spec", "submitterConfig", drop=True), "submitterConfig.backoffLimit"),
    (change("spec", "submissionMode", to="SidecarMode"), "none in SidecarMode"),
    (change("spec", "submissionMode", to="InteractiveMode"), "not in InteractiveMode"),
    (
        change("spec", "submitterPodTemplate", "spec", "restartPolicy", to="Always"),
        "restartPolicy Never or OnFailure",
    ),
    (change(*POD, "restartPolicy", to="Always"), "v2 needs restartPolicy Never"),
    (change(*CLUSTER, "rayVersion", drop=True), "rayVersion from 2.52"),
    (change(*CLUSTER, "rayVersion", to="2.51.1"), "rayVersion from 2.52"),
    (change(*CLUSTER, "networkPolicy", "mode", to="DenyAll"), "alpha"),
    (change(*CLUSTER, "gcsFaultToleranceOptions", "backend", to="rocksdb"), "alpha"),
    (change("kind", to="RayCronJob"), "alpha"),
    (change(*CLUSTER, "enableInTreeAutoscaling", to=False), "without enableInTreeAutoscaling"),
    (change(*WORKERS, "replicas", to=9), "replicas outside"),
    (change(*WORKERS, "rayStartParams", "labels", to="a=b"), "labels are not given"),
    (change(*WORKERS, "template", "metadata", "labels", to={"ray.io/group": "x"}), "operator's"),
    (change("metadata", "labels", "kueue.x-k8s.io/queue-name", to="q"), "Kueue"),
    (change(*POD, "securityContext", "runAsNonRoot", to=False), "runs as root"),
    (change(*POD, "automountServiceAccountToken", drop=True), "token"),
    (change(*POD, "containers", 0, "securityContext", to={}), "may gain privileges"),
    (change(*POD, "containers", 0, "resources", "limits", drop=True), "no limits"),
]


@pytest.mark.parametrize(("plant", "found"), BROKEN)
def test_a_broken_rule_is_found(plant, found):
    job = one(overlay("cpu"), "RayJob")
    assert rule_faults(job) == []
    plant(job)
    assert any(found in fault for fault in rule_faults(job))


LOST = [
    ("PersistentVolumeClaim", "mpo-runs"),
    ("ConfigMap", "mpo-config"),
    ("ConfigMap", "mpo-environment"),
    ("ServiceAccount", "mpo-worker"),
    ("Role", "mpo-autoscaler"),
    ("Service", "mlflow"),
    ("Service", "postgres"),
]


@pytest.mark.parametrize(("kind", "name"), LOST)
def test_a_missing_object_is_found(kind, name):
    objects = overlay("cpu")
    before = dangling(objects)
    objects.remove(one(objects, kind, name))
    found = {fault.split(" -> ")[1] for fault in dangling(objects) - before}
    assert any(fault.startswith(f"{kind}/{name}") for fault in found)


def test_a_mistyped_secret_volume_port_or_selector_is_found():
    objects = overlay("cpu")
    [container] = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    secret = next(v for v in container["env"] if v["name"] == "PGPASSWORD")
    secret["valueFrom"]["secretKeyRef"]["name"] = "mpo-postgre"
    container["volumeMounts"][0]["name"] = "artefacts"
    container["livenessProbe"]["httpGet"]["port"] = "htp"
    one(objects, "Service", "mlflow")["spec"]["selector"] = {"app.kubernetes.io/name": "mflow"}
    missing = {fault.split(" -> ")[1] for fault in dangling(objects)} - external()
    assert missing == {"Secret/mpo-postgre"}
    assert len(loose_ends(objects)) == 3


def test_the_image_is_built_from_the_locks_and_without_what_it_does_not_need():
    dockerfile = (K8S / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", dockerfile, re.MULTILINE)
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source
    assert {"requirements/cpu.lock", "requirements/gpu.lock"} <= set(" ".join(copied).split())
    ignored = Path(ROOT / ".dockerignore").read_text().split()
    assert {".venv", "runs", ".git"} <= set(ignored)
