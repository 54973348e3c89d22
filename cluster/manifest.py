"""A run's manifest: an overlay of `k8s/` with the run's name, config, namespace and image.

What an overlay of one's own keeps to: it holds one RayJob; the ConfigMap `mpo-config` is mounted
at /mnt/config, a volume that outlives the pods at /mnt/runs.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from cluster.credentials import model_keys, passwords
from cluster.kubectl import run_kubectl
from mpo_core import strict_yaml
from mpo_core.config import Config, identity
from mpo_core.errors import InputError
from mpo_core.types import content_hash

OVERLAYS = Path(__file__).parents[1] / "k8s" / "overlays"
RUNS_DIR = Path("/mnt/runs")
CONFIG_MAP, CONFIG_FILE = "mpo-config", "config.yaml"
# KubeRay's limit, from which it makes the names of pods and services.
NAME_LIMIT = 47
# Where keys are, as k8s/README.md has it made.
KEY_SECRET = "mpo-secrets"


def render(config: Config) -> str:
    """The manifest of a run, as `kubectl apply -f` takes it; needs kubectl, but no cluster.

    Raises:
        InputError: no such overlay, or it is at fault; kubectl is not installed; the config names
            a file that the cluster's pods would not see.
    """
    return yaml.dump_all(manifest(config), Dumper=_Readable, sort_keys=False)


def job_name(run: str) -> str:
    """A run's name as a Kubernetes name; different for different runs.

    A name that cannot stay as it is gets a mark of what it was.
    """
    name = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"run-{name}".rstrip("-")
    if name == run and len(name) <= NAME_LIMIT:
        return name
    return f"{name[: NAME_LIMIT - 9].rstrip('-')}-{content_hash(run, length=8)}"


def in_cluster(config: Config) -> Config:
    """The config as the cluster's pods read it: runs on their volume, Ray as it is there.

    Raises:
        InputError: a setting names something that is on this machine only, or holds a password.
    """
    # A proxy's folder is there only where there is a proxy.
    elsewhere = {"runs_dir", "launch"} | ({"proxy"} if config.source == "rollouts" else set())
    local = [*_local_paths(config.model_dump(exclude=elsewhere))]
    for name, model in config.models.items():
        source = Path(model.source or "/").expanduser()
        if not source.is_absolute() and source.exists():
            local.append((f"models.{name}.source", source))
    if local:
        key, path = local[0]
        raise InputError(
            f"{key}: {path}: a path of this machine; copy it to the cluster's volume and give the "
            "path there, below /mnt/cache or /mnt/runs"
        )
    uri = config.tracking.uri
    if uri and not uri.startswith(("http:", "https:")):
        raise InputError(
            f"tracking.uri: {uri}: a file of this machine; leave it unset for the MLflow server "
            "of the cluster"
        )
    for key in passwords(config):
        raise InputError(
            f"{key}: holds a password, which everyone would see who sees the manifest; put it into "
            f"the secret {KEY_SECRET}, as the variable that the client reads "
            "(MLFLOW_TRACKING_PASSWORD, or the model's api_key_env)"
        )
    cluster = config.cluster.model_copy(update={"address": None, "http_port": 0})
    return config.model_copy(update={"runs_dir": RUNS_DIR, "cluster": cluster})


def manifest(config: Config) -> list[dict[str, Any]]:
    """The overlay's objects, with the run's name, config, namespace and image."""
    settings = config.launch.k8s
    overlay = OVERLAYS / settings.overlay
    if not overlay.is_dir():
        overlay = Path(settings.overlay)
    if not (overlay / "kustomization.yaml").is_file():
        known = ", ".join(sorted(path.name for path in OVERLAYS.glob("*/")))
        raise InputError(
            f"launch.k8s.overlay: {settings.overlay}: neither an overlay of the suite ({known}) "
            "nor a folder with a kustomization.yaml"
        )
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve()
        # kustomize takes no absolute paths.
        over = {
            "resources": [os.path.relpath(overlay.resolve(), here)],
            "namespace": settings.namespace,
        }
        (here / "kustomization.yaml").write_text(yaml.safe_dump(over), encoding="utf-8")
        objects = list(yaml.safe_load_all(run_kubectl("kustomize", str(here))))
    inside = in_cluster(config)
    text = strict_yaml.dump(inside.model_dump(mode="json"))
    job = ray_job(objects, settings.overlay)
    name = job_name(config.name)
    maps = [one for one in objects if reference(one) == f"configmap/{CONFIG_MAP}"]
    if not maps:
        raise InputError(f"launch.k8s.overlay: {settings.overlay}: no ConfigMap {CONFIG_MAP}")
    maps[0]["data"] = {CONFIG_FILE: text}
    for one in (job, maps[0]):
        one["metadata"]["name"] = name
        one["metadata"].setdefault("labels", {})["mpo-run"] = name
    job["metadata"].setdefault("annotations", {}).update(
        {"mpo-config": identity(config), "mpo-run": config.name}
    )
    for pod in pods(job):
        for volume in pod.get("volumes", []):
            if volume.get("configMap", {}).get("name") == CONFIG_MAP:
                volume["configMap"]["name"] = name
        # Ray's container is the first; others of an overlay are its own.
        if settings.image:
            pod["containers"][0]["image"] = settings.image
    for pod in ray_pods(job):
        _name_keys(pod, model_keys(config))
    return objects


def key_secret(pod: dict[str, Any]) -> str:
    """The secret that a pod's first container takes its keys from."""
    sources = pod["containers"][0].get("envFrom", [])
    return next((s["secretRef"]["name"] for s in sources if "secretRef" in s), KEY_SECRET)


def _name_keys(pod: dict[str, Any], names: Iterable[str]) -> None:
    """Let a pod's first container have the keys of these names, those that its secret has."""
    container, secret = pod["containers"][0], key_secret(pod)
    there = {variable["name"] for variable in container.get("env", [])}
    for name in names:
        if name not in there:
            reference = {"name": secret, "key": name, "optional": True}
            variable = {"name": name, "valueFrom": {"secretKeyRef": reference}}
            container.setdefault("env", []).append(variable)


def pods(ray_job: dict[str, Any]) -> list[dict[str, Any]]:
    """The specs of a RayJob's pods: head, workers, submitter."""
    submitter = ray_job["spec"].get("submitterPodTemplate")
    return ray_pods(ray_job) + ([submitter["spec"]] if submitter else [])


def ray_pods(ray_job: dict[str, Any]) -> list[dict[str, Any]]:
    """The specs of the pods of a RayJob's Ray cluster, the head first."""
    cluster = ray_job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
    return [group["template"]["spec"] for group in groups]


def ray_job(objects: list[dict[str, Any]], overlay: str) -> dict[str, Any]:
    jobs = [one for one in objects if one["kind"] == "RayJob"]
    if len(jobs) != 1:
        raise InputError(
            f"launch.k8s.overlay: {overlay}: {len(jobs)} RayJobs; a run needs an overlay with one"
        )
    return jobs[0]


def config_mark(ray_job: dict[str, Any]) -> str:
    return ray_job["metadata"]["annotations"]["mpo-config"]


def reference(one: dict[str, Any]) -> str:
    """An object as `kubectl get --output=name` calls it."""
    return f"{one['kind'].lower()}/{one['metadata']['name']}"


def _local_paths(tree: Any, key: str = "") -> Iterator[tuple[str, Path]]:
    """Relative paths among the settings, which are relative to where the command is run."""
    if isinstance(tree, Path):
        if not tree.is_absolute():
            yield key, tree
    elif isinstance(tree, dict):
        for name, value in tree.items():
            yield from _local_paths(value, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list):
        for value in tree:
            yield from _local_paths(value, key)


class _Readable(yaml.SafeDumper):
    """Text of several lines as such."""


def _text(dumper: _Readable, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Readable.add_representer(str, _text)
