"""A run as a KubeRay RayJob: rendered from an overlay of `k8s/`, applied, followed to its end.

What an overlay of one's own keeps to: it holds one RayJob; the ConfigMap `mpo-config` is mounted
at /mnt/config, a volume that outlives the pods at /mnt/runs.

A run has one RayJob, named after it, at a time. Submitting a run again follows its RayJob while
that is not done; after its end, a new one takes its place and goes on in the run's folder.
"""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from mpo_core.config import Config, KubernetesConfig
from mpo_core.errors import InputError

OVERLAYS = Path(__file__).parents[1] / "k8s" / "overlays"
RUNS_DIR = Path("/mnt/runs")
CONFIG_MAP, CONFIG_FILE = "mpo-config", "config.yaml"
# KubeRay's limit, from which it makes the names of pods and services.
NAME_LIMIT = 47
DONE = ("Complete", "Failed", "ValidationFailed")
POLL_S = 5
LOST_AFTER_S = 600


def render(config: Config) -> str:
    """The manifest of a run, as `kubectl apply -f` takes it; needs kubectl, but no cluster.

    Raises:
        InputError: no such overlay, or it is at fault; kubectl is not installed; the config names
            a file that the cluster's pods would not see.
    """
    return yaml.dump_all(_objects(config), Dumper=_Readable, sort_keys=False)


def submit(config: Config, say: Callable[[str], None]) -> int:
    """Run a config in the cluster and follow it to its end; its log goes to standard output.

    Args:
        say: called with each line about the RayJob.

    Returns:
        0 where the run succeeded, 1 where it failed, 130 where following was interrupted.

    Raises:
        InputError: as `render`, or the cluster cannot be reached or refuses the manifest, or the
            run is in progress there with another config.
    """
    objects = _objects(config)
    job = _ray_job(objects, config.launch.k8s.overlay)
    kubectl = Kubectl(config.launch.k8s)
    name = job["metadata"]["name"]
    found = kubectl.ray_job(name)
    if found and found.get("status", {}).get("jobDeploymentStatus") not in DONE:
        if found["metadata"].get("annotations", {}).get("mpo-config") != _config_mark(job):
            raise InputError(
                f"{config.name}: in progress in the cluster with another config; give this one "
                f"another name, or end that one: kubectl delete rayjob {name} "
                f"-n {config.launch.k8s.namespace}"
            )
        say(f"rayjob {name}: in progress already, following it")
    else:
        if found:
            # The spec of a RayJob that has started does not change any more.
            kubectl("delete", "rayjob", name)
        # A claim's spec does not change either: what is there is used as it is.
        claims = kubectl("get", "persistentvolumeclaim", "--output=name").split()
        new = [one for one in objects if _reference(one) not in claims]
        kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(new))
        namespace = config.launch.k8s.namespace
        say(f"rayjob {name}: submitted; its pods: kubectl get pods --namespace={namespace}")
    try:
        return _follow(kubectl, name, say)
    except KeyboardInterrupt:
        say(f"rayjob {name}: goes on without us; the same command follows it again")
        return 130


def job_name(run: str) -> str:
    """A run's name as a Kubernetes name; different for different runs.

    A name that cannot stay as it is gets a mark of what it was.
    """
    name = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"run-{name}".rstrip("-")
    if name == run and len(name) <= NAME_LIMIT:
        return name
    mark = hashlib.sha256(run.encode()).hexdigest()[:8]
    return f"{name[: NAME_LIMIT - 9].rstrip('-')}-{mark}"


def in_cluster(config: Config) -> Config:
    """The config as the cluster's pods read it: runs on their volume, Ray as it is there.

    Raises:
        InputError: a setting names something that is on this machine only.
    """
    local = [*_local_paths(config.model_dump(exclude={"runs_dir", "launch"}))]
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
    cluster = config.cluster.model_copy(update={"address": None, "http_port": 0})
    return config.model_copy(update={"runs_dir": RUNS_DIR, "cluster": cluster})


class Kubectl:
    """kubectl with a config's context and namespace."""

    def __init__(self, config: KubernetesConfig) -> None:
        self._options = [f"--namespace={config.namespace}"]
        if config.context:
            self._options.append(f"--context={config.context}")

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """What a command prints. Raises InputError with its complaint, in one line."""
        return _kubectl(*arguments, *self._options, stdin=stdin)

    def ray_job(self, name: str) -> dict[str, Any] | None:
        """The RayJob as it is in the cluster, None where there is none."""
        text = self("get", "rayjobs.ray.io", name, "--output=json", "--ignore-not-found")
        return json.loads(text) if text else None

    @contextlib.contextmanager
    def log(self, name: str) -> Iterator[subprocess.Popen]:
        """Follows the log of the pod that submitted a RayJob, on standard output."""
        command = ["kubectl", "logs", "--follow", f"job/{name}", *self._options]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _objects(config: Config) -> list[dict[str, Any]]:
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
        (here / "kustomization.yaml").write_text(yaml.safe_dump(over))
        objects = list(yaml.safe_load_all(_kubectl("kustomize", str(here))))
    inside = in_cluster(config)
    text = yaml.safe_dump(inside.model_dump(mode="json"), sort_keys=False)
    decisive = json.dumps(inside.model_dump(mode="json", exclude={"launch"}))
    job = _ray_job(objects, settings.overlay)
    name = job_name(config.name)
    maps = [one for one in objects if _reference(one) == f"configmap/{CONFIG_MAP}"]
    if not maps:
        raise InputError(f"launch.k8s.overlay: {settings.overlay}: no ConfigMap {CONFIG_MAP}")
    maps[0]["data"] = {CONFIG_FILE: text}
    for one in (job, maps[0]):
        one["metadata"]["name"] = name
        one["metadata"].setdefault("labels", {})["mpo-run"] = name
    job["metadata"].setdefault("annotations", {}).update(
        {"mpo-config": hashlib.sha256(decisive.encode()).hexdigest()[:16], "mpo-run": config.name}
    )
    for pod in pods(job):
        for volume in pod.get("volumes", []):
            if volume.get("configMap", {}).get("name") == CONFIG_MAP:
                volume["configMap"]["name"] = name
        if settings.image:
            # Ray's container is the first; others of an overlay are its own.
            pod["containers"][0]["image"] = settings.image
    return objects


def pods(ray_job: dict[str, Any]) -> list[dict[str, Any]]:
    """The specs of a RayJob's pods: head, workers, submitter."""
    spec = ray_job["spec"]
    groups = [spec["rayClusterSpec"]["headGroupSpec"]]
    groups += spec["rayClusterSpec"].get("workerGroupSpecs", [])
    templates = [group["template"] for group in groups]
    if "submitterPodTemplate" in spec:
        templates.append(spec["submitterPodTemplate"])
    return [template["spec"] for template in templates]


def _ray_job(objects: list[dict[str, Any]], overlay: str) -> dict[str, Any]:
    jobs = [one for one in objects if one["kind"] == "RayJob"]
    if len(jobs) != 1:
        raise InputError(
            f"launch.k8s.overlay: {overlay}: {len(jobs)} RayJobs; a run needs an overlay with one"
        )
    return jobs[0]


def _config_mark(ray_job: dict[str, Any]) -> str:
    return ray_job["metadata"]["annotations"]["mpo-config"]


def _reference(one: dict[str, Any]) -> str:
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


def _follow(kubectl: Kubectl, name: str, say: Callable[[str], None]) -> int:
    """Waits for a RayJob's end; returns the exit code that its status stands for.

    `ray job submit` in the submitter may end well although the job has failed, so it is the
    RayJob's own status that counts.
    """
    told, logged, lost_at = "", None, None
    with contextlib.ExitStack() as logs:
        while True:
            try:
                found = kubectl.ray_job(name)
            except InputError as error:
                # The run does not depend on us: what lasts for days survives a lost connection.
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > LOST_AFTER_S:
                    say(f"rayjob {name}: lost sight of it ({error}); it may go on")
                    return 1
                time.sleep(POLL_S)
                continue
            lost_at = None
            if found is None:
                say(f"rayjob {name}: was deleted")
                return 1
            status = found.get("status", {})
            stage, attempt = status.get("jobDeploymentStatus", "New"), status.get("jobId")
            if stage != told:
                told = stage
                say(f"rayjob {name}: {stage}")
            if stage == "Running" and attempt != logged:
                logs.close()
                log, logged = logs.enter_context(kubectl.log(name)), attempt
            if stage in DONE:
                if logged:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        log.wait(POLL_S)
                if stage == "Complete" and status.get("jobStatus") == "SUCCEEDED":
                    return 0
                reason = ": ".join(filter(None, (status.get("reason"), status.get("message"))))
                say(f"rayjob {name}: {reason or status.get('jobStatus', 'no reason given')}")
                return 1
            time.sleep(POLL_S)


def _kubectl(*arguments: str, stdin: str | None = None) -> str:
    try:
        done = subprocess.run(
            ["kubectl", *arguments], check=False, input=stdin, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise InputError("kubectl: not installed, or not on the PATH") from error
    if done.returncode == 0:
        return done.stdout
    complaint = [line for line in done.stderr.splitlines() if line.strip()]
    line = complaint[-1].strip() if complaint else f"exit code {done.returncode}"
    if 'doesn\'t have a resource type "rayjobs"' in line:
        line = "the cluster knows no RayJob; install the KubeRay operator (see k8s/README.md)"
    elif re.search(r"connection .*refused|unable to connect|dial tcp|current-context", line, re.I):
        line += "; is the cluster up, and launch.k8s.context (or kubectl's own) the right one?"
    raise InputError(f"kubectl {arguments[0]}: {line}")


class _Readable(yaml.SafeDumper):
    """Text of several lines as such."""


def _text(dumper: yaml.Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Readable.add_representer(str, _text)
