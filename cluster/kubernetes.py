"""A run as a KubeRay RayJob: submitted, and followed to its end.

A run has one RayJob, named after it, at a time. Submitting a run again follows its RayJob while
that is not done; after its end, a new one takes its place and goes on in the run's folder.
"""

import time
from collections.abc import Callable
from contextlib import closing

import yaml

from cluster import kubectl
from cluster.credentials import model_keys
from cluster.kubectl import JobLog, Kubectl
from cluster.manifest import config_mark, key_secret, manifest, ray_job, ray_pods, reference
from mpo_core.config import Config
from mpo_core.errors import InputError

DONE = ("Complete", "Failed", "ValidationFailed")
LOST_AFTER_S = 600


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
    objects = manifest(config)
    job = ray_job(objects, config.launch.k8s.overlay)
    cluster = Kubectl(config.launch.k8s)
    name = job["metadata"]["name"]
    found = cluster.ray_job(name)
    if found and found.get("status", {}).get("jobDeploymentStatus") not in DONE:
        if found["metadata"].get("annotations", {}).get("mpo-config") != config_mark(job):
            raise InputError(
                f"{config.name}: in progress in the cluster with another config; give this one "
                f"another name, or end that one: kubectl delete rayjob {name} "
                f"-n {config.launch.k8s.namespace}"
            )
        say(f"rayjob {name}: in progress already, following it")
    else:
        if found:
            # The spec of a RayJob that has started does not change any more.
            cluster("delete", "rayjobs.ray.io", name)
        # A claim's spec does not change either: what is there is used as it is.
        claims = cluster("get", "persistentvolumeclaim", "--output=name").split()
        new = [one for one in objects if reference(one) not in claims]
        cluster("apply", "--filename=-", stdin=yaml.safe_dump_all(new))
        namespace = config.launch.k8s.namespace
        if lacking := _lacking_keys(cluster, config, key_secret(ray_pods(job)[0])):
            say(f"rayjob {name}: {lacking}")
        say(f"rayjob {name}: submitted; its pods: kubectl get pods --namespace={namespace}")
    try:
        return _follow(cluster, name, say)
    except KeyboardInterrupt:
        say(f"rayjob {name}: goes on without us; the same command follows it again")
        return 130


def _lacking_keys(cluster: Kubectl, config: Config, secret: str) -> str | None:
    """The keys of the config's endpoints that the cluster's secret lacks, in one line."""
    keys = model_keys(config)
    if not keys:
        return None
    try:
        # The keys' names alone.
        names = "go-template={{range $name, $value := .data}}{{$name}} {{end}}"
        there = cluster("get", "secret", secret, "--ignore-not-found", f"--output={names}").split()
    except InputError:
        # Who may submit runs need not be one who may look at secrets.
        return f"the secret {secret} is to hold {', '.join(keys)}"
    lacking = [f"{name} ({key})" for name, key in keys.items() if name not in there]
    return f"the secret {secret} lacks {', '.join(lacking)}" if lacking else None


def _follow(cluster: Kubectl, name: str, say: Callable[[str], None]) -> int:
    """Waits for a RayJob's end; returns the exit code that its status stands for.

    `ray job submit` in the submitter may end well although the job has failed, so it is the
    RayJob's own status that counts.
    """
    told, seen_at = "", time.monotonic()
    with closing(JobLog(cluster, name)) as log:
        while True:
            try:
                found = cluster.ray_job(name)
            except InputError as error:
                # The run does not depend on us: what lasts for days survives a lost connection.
                if time.monotonic() - seen_at > LOST_AFTER_S:
                    say(f"rayjob {name}: lost sight of it ({error}); it may go on")
                    return 1
                time.sleep(kubectl.POLL_S)
                continue
            seen_at = time.monotonic()
            if found is None:
                say(f"rayjob {name}: was deleted")
                return 1
            status = found.get("status", {})
            stage = status.get("jobDeploymentStatus", "New")
            if stage == "Running":
                log.keep_up(status.get("jobId"))
            if stage in DONE:
                log.close()
            if stage != told:
                told = stage
                say(f"rayjob {name}: {stage}")
            if stage in DONE:
                break
            time.sleep(kubectl.POLL_S)
    if stage == "Complete" and status.get("jobStatus") == "SUCCEEDED":
        return 0
    reason = ": ".join(filter(None, (status.get("reason"), status.get("message"))))
    say(f"rayjob {name}: {reason or status.get('jobStatus', 'no reason given')}")
    return 1
