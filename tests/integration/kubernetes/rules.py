"""Rules that no schema states: those of KubeRay's operator and of Kueue, by which an object that
an API server accepts fails later, and those of Kubernetes' `restricted` pods."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.integration.kubernetes.manifests import label, pod_templates

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
NAME_LIMIT = 47
# Fields that the operator refuses unless its administrator has switched an alpha feature on.
ALPHA = ("networkPolicy", "historyServerOptions", "tlsOptions")
DELETED_FIRST = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")


def rule_faults(obj: dict[str, Any]) -> list[str]:
    """What is wrong with an object, a line each."""
    rules = {"RayJob": _ray_job, "RayService": _ray_service, "RayCronJob": _ray_cron_job}
    faults = list(rules[obj["kind"]](obj)) if obj["kind"] in rules else []
    for template in pod_templates(obj):
        faults += _restricted(template)
    return [f"{label(obj)}: {fault}" for fault in faults]


def _ray_job(job: dict[str, Any]) -> Iterator[str]:
    yield from _name(job)
    spec = job["spec"]
    cluster = spec.get("rayClusterSpec")
    yield from _end(spec)
    yield from _deletion(spec.get("deletionStrategy", {}), cluster or {})
    yield from _submission(spec)
    if cluster is None:
        yield "rayClusterSpec: missing"
        return
    yield from _ray_cluster(cluster)
    if "kueue.x-k8s.io/queue-name" in job["metadata"].get("labels", {}):
        if cluster.get("enableInTreeAutoscaling") or not spec.get("shutdownAfterJobFinishes"):
            yield "Kueue takes RayJobs that do not scale and shut their cluster down"
        if len(cluster.get("workerGroupSpecs", [])) > 7:
            yield "Kueue takes seven worker groups at most"


def _end(spec: dict[str, Any]) -> Iterator[str]:
    shutdown = spec.get("shutdownAfterJobFinishes")
    rules = spec.get("deletionStrategy", {}).get("deletionRules", [])
    if rules and shutdown:
        yield "deletionRules excludes shutdownAfterJobFinishes"
    if spec.get("ttlSecondsAfterFinished") and not shutdown:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if spec.get("suspend") and not shutdown:
        yield "suspend needs shutdownAfterJobFinishes"
    if not shutdown:
        freed = {rule["condition"].get("jobStatus") for rule in rules if _frees(rule)}
        for status in {"SUCCEEDED", "FAILED"} - freed:
            yield f"a job that has {status} keeps its GPUs"
    if spec.get("activeDeadlineSeconds", 1) <= 0 or spec.get("backoffLimit", 0) < 0:
        yield "activeDeadlineSeconds and backoffLimit: not below zero"


def _frees(rule: dict[str, Any]) -> bool:
    return rule["policy"] in DELETED_FIRST and rule["condition"].get("ttlSeconds", 0) <= 3600


def _submission(spec: dict[str, Any]) -> Iterator[str]:
    if re.search(r'[$`"]', spec.get("entrypoint", "")):
        yield "entrypoint: the submitter's shell reads $, ` and \" in it"
    if not isinstance(yaml.safe_load(spec.get("runtimeEnvYAML", "{}")), dict):
        yield "runtimeEnvYAML: not a mapping"
    mode = spec.get("submissionMode", "K8sJobMode")
    if mode == "InteractiveMode" and spec.get("backoffLimit"):
        yield "backoffLimit: not in InteractiveMode"
    if mode == "SidecarMode" and {"submitterPodTemplate", "submitterConfig"} & spec.keys():
        yield "submitter: none in SidecarMode"
    if mode == "K8sJobMode" and "backoffLimit" not in spec.get("submitterConfig", {}):
        yield "submitterConfig.backoffLimit: says how often the submitter is tried again"
    submitter = spec.get("submitterPodTemplate", {"spec": {"restartPolicy": "Never"}})
    if submitter["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
        yield "submitterPodTemplate: a Job's pod needs restartPolicy Never or OnFailure"


def _deletion(strategy: dict[str, Any], cluster: dict[str, Any]) -> Iterator[str]:
    rules = strategy.get("deletionRules", [])
    legacy = {"onSuccess", "onFailure"} & strategy.keys()
    if strategy and (bool(rules) == bool(legacy) or len(legacy) == 1):
        yield "deletionStrategy: either deletionRules, or both onSuccess and onFailure"
    after: dict[str, dict[str, int]] = {}
    for rule in rules:
        condition = rule["condition"]
        if ("jobStatus" in condition) == ("jobDeploymentStatus" in condition):
            yield "deletionRules: a condition has either jobStatus or jobDeploymentStatus"
        status = condition.get("jobStatus") or condition.get("jobDeploymentStatus", "")
        if rule["policy"] in after.setdefault(status, {}):
            yield f"deletionRules: {rule['policy']} twice for {status}"
        after[status][rule["policy"]] = condition.get("ttlSeconds", 0)
        if rule["policy"] == "DeleteWorkers" and cluster.get("enableInTreeAutoscaling"):
            yield "deletionRules: DeleteWorkers excludes autoscaling"
    for status, ttls in after.items():
        order = [ttls[policy] for policy in DELETED_FIRST if policy in ttls]
        if order != sorted(order):
            yield f"deletionRules: {status}: workers go before their cluster, it before the RayJob"


def _ray_service(service: dict[str, Any]) -> Iterator[str]:
    yield from _name(service)
    cluster = service["spec"]["rayClusterConfig"]
    yield from _ray_cluster(cluster)
    if cluster["headGroupSpec"].get("headService", {}).get("metadata", {}).get("name"):
        yield "headService: its name is the operator's"
    serve = yaml.safe_load(service["spec"].get("serveConfigV2", ""))
    if not isinstance(serve, dict) or not serve.get("applications"):
        yield "serveConfigV2: no applications"


def _ray_cron_job(_: dict[str, Any]) -> Iterator[str]:
    yield "RayCronJob: an alpha feature, switched off by default"


def _ray_cluster(spec: dict[str, Any]) -> Iterator[str]:
    head, workers = spec["headGroupSpec"], spec.get("workerGroupSpecs", [])
    for group in (head, *workers):
        yield from _group(group, head is group)
    for field in ALPHA:
        if field in spec:
            yield f"{field}: an alpha feature, switched off by default"
    if spec.get("gcsFaultToleranceOptions", {}).get("backend") == "rocksdb":
        yield "gcsFaultToleranceOptions.backend: an alpha feature, switched off by default"
    names = {entry["name"] for c in _containers(head) for entry in c.get("env", [])}
    if {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME"} & names:
        yield "Redis is told by gcsFaultToleranceOptions, not by the head's environment"
    yield from _autoscaling(spec, names)
    if spec.get("authOptions", {}).get("mode") == "token":
        version = tuple(map(int, re.findall(r"\d+", spec.get("rayVersion", ""))[:2]))
        if version < (2, 52):
            yield "authOptions.mode token needs an explicit rayVersion from 2.52"


def _autoscaling(spec: dict[str, Any], variables: set[str]) -> Iterator[str]:
    options = spec.get("autoscalerOptions", {})
    if options and not spec.get("enableInTreeAutoscaling"):
        yield "autoscalerOptions: without enableInTreeAutoscaling"
    if "version" in options and "RAY_enable_autoscaler_v2" in variables:
        yield "autoscalerOptions.version excludes RAY_enable_autoscaler_v2"
    if options.get("version") == "v2":
        for group in (spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])):
            if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
                yield "autoscaler v2 needs restartPolicy Never"


def _group(group: dict[str, Any], is_head: bool) -> Iterator[str]:
    name = group.get("groupName", "head")
    if not _containers(group):
        yield f"{name}: no container"
    start = group.get("rayStartParams", {})
    if group.get("resources") and {"num-cpus", "num-gpus", "memory", "resources"} & start.keys():
        yield f"{name}: resources both in rayStartParams and in resources"
    if "labels" in start:
        yield f"{name}: labels are not given in rayStartParams"
    labels = group["template"].get("metadata", {}).get("labels", {})
    for key in labels:
        # The operator finds its pods by these.
        if key.startswith("ray.io/") or key == "app.kubernetes.io/name":
            yield f"{name}: the label {key} is the operator's"
    if not is_head:
        least, most = group["minReplicas"], group["maxReplicas"]
        if not least <= group.get("replicas", 0) <= most:
            yield f"{name}: replicas outside of minReplicas and maxReplicas"


def _containers(group: dict[str, Any]) -> list[dict[str, Any]]:
    return group["template"]["spec"].get("containers", [])


def _name(obj: dict[str, Any]) -> Iterator[str]:
    name = obj["metadata"]["name"]
    if len(name) > NAME_LIMIT:
        yield f"name: at most {NAME_LIMIT} characters"
    if not NAME.fullmatch(name):
        yield "name: lower-case letters, digits and hyphens, a letter first"


def _restricted(template: dict[str, Any]) -> Iterator[str]:
    pod = template["spec"]
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield "pod: runs as root"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "pod: no seccompProfile RuntimeDefault"
    if pod.get("automountServiceAccountToken") is not False:
        yield "pod: every container gets a token of the service account"
    for container in [*pod.get("containers", []), *pod.get("initContainers", [])]:
        name, context = container["name"], container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"container {name}: may gain privileges"
        if "ALL" not in context.get("capabilities", {}).get("drop", []):
            yield f"container {name}: keeps capabilities"
        resources = container.get("resources", {})
        for part in ("requests", "limits"):
            if not {"cpu", "memory"} <= resources.get(part, {}).keys():
                yield f"container {name}: no {part} of cpu and memory"
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            yield f"volume {volume['name']}: a path of the host"
