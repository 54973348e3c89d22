"""What objects refer to by name: whether it is there."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from tests.integration.kubernetes.manifests import K8S, label, pod_templates

# Hosts in settings: `http://mlflow:5000`, `postgresql://mlflow@postgres:5432/mlflow`.
URL = re.compile(r"[\w+]+://(?:[\w.-]+@)?([a-z][a-z0-9-]*):(\d+)")
EXTERNAL = re.compile(r"^\| `(\w+/[\w.-]+)`", re.MULTILINE)


def external() -> set[str]:
    """What k8s/README.md says is made outside of the manifests."""
    return set(EXTERNAL.findall((K8S / "README.md").read_text()))


def dangling(objects: Sequence[dict[str, Any]]) -> set[str]:
    """References to what is not among the objects, as `who -> Kind/name`."""
    there = {label(obj) for obj in objects}
    there |= {
        f"Service/{obj['metadata']['name']}:{port['port']}"
        for obj in objects
        if obj["kind"] == "Service"
        for port in obj["spec"]["ports"]
    }
    return {
        f"{label(obj)} -> {wanted}"
        for obj in objects
        for wanted in _references(obj)
        if wanted not in there
    }


def loose_ends(objects: Sequence[dict[str, Any]]) -> list[str]:
    """Names that lead nowhere within the render: mounts, probes' ports, selectors."""
    faults = []
    labels = [
        template.get("metadata", {}).get("labels", {})
        for obj in objects
        for template in pod_templates(obj)
    ]
    for obj in objects:
        for template in pod_templates(obj):
            pod = template["spec"]
            volumes = {volume["name"] for volume in pod.get("volumes", [])}
            claims = obj["spec"].get("volumeClaimTemplates", [])
            volumes |= {claim["metadata"]["name"] for claim in claims}
            for container in pod["containers"]:
                ports = {port["name"] for port in container.get("ports", [])}
                wanted = {mount["name"] for mount in container.get("volumeMounts", [])}
                faults += [f"{label(obj)}: no volume {name}" for name in wanted - volumes]
                faults += [
                    f"{label(obj)}: no port {port}"
                    for port in _probed(container)
                    if isinstance(port, str) and port not in ports
                ]
        for selector in _selectors(obj):
            if not any(selector.items() <= of_pod.items() for of_pod in labels):
                faults.append(f"{label(obj)}: selects no pod: {selector}")
    return faults


def _references(obj: dict[str, Any]) -> Iterator[str]:
    for template in pod_templates(obj):
        yield from _of_pod(template["spec"])
    if obj["kind"] == "StatefulSet":
        yield f"Service/{obj['spec']['serviceName']}"
    if obj["kind"] == "RoleBinding":
        yield f"{obj['roleRef']['kind']}/{obj['roleRef']['name']}"
        yield from (f"{one['kind']}/{one['name']}" for one in obj["subjects"])
    if obj["kind"] == "ConfigMap":
        for value in obj["data"].values():
            yield from _hosts(value)
    queue = obj["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name")
    if queue:
        yield f"LocalQueue/{queue}"
    spec = obj.get("spec", {})
    cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or {}
    redis = cluster.get("gcsFaultToleranceOptions", {})
    if redis:
        yield "Service/" + redis["redisAddress"]
        yield f"Secret/{redis['redisPassword']['valueFrom']['secretKeyRef']['name']}"


def _of_pod(pod: dict[str, Any]) -> Iterator[str]:
    yield f"ServiceAccount/{pod.get('serviceAccountName', 'default')}"
    for secret in pod.get("imagePullSecrets", []):
        yield f"Secret/{secret['name']}"
    for volume in pod.get("volumes", []):
        for source in [volume, *volume.get("projected", {}).get("sources", [])]:
            yield from _of_volume(source)
    for container in pod["containers"]:
        for source in container.get("envFrom", []):
            yield from _of_variable(source, "Ref")
        for variable in container.get("env", []):
            yield from _of_variable(variable.get("valueFrom", {}), "KeyRef")
            yield from _hosts(variable.get("value", ""))


def _of_volume(source: dict[str, Any]) -> Iterator[str]:
    if "configMap" in source:
        yield f"ConfigMap/{source['configMap']['name']}"
    if "secret" in source:
        yield f"Secret/{source['secret'].get('secretName') or source['secret']['name']}"
    if "persistentVolumeClaim" in source:
        yield f"PersistentVolumeClaim/{source['persistentVolumeClaim']['claimName']}"


def _of_variable(source: dict[str, Any], suffix: str) -> Iterator[str]:
    for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
        if field + suffix in source:
            yield f"{kind}/{source[field + suffix]['name']}"


def _hosts(text: str) -> Iterator[str]:
    for host, port in URL.findall(text):
        if host != "localhost":
            yield f"Service/{host}:{port}"


def _probed(container: dict[str, Any]) -> Iterator[Any]:
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        for how in ("httpGet", "tcpSocket"):
            if how in container.get(kind, {}):
                yield container[kind][how]["port"]


def _selectors(obj: dict[str, Any]) -> Iterator[dict[str, str]]:
    spec = obj.get("spec", {})
    if obj["kind"] == "Service":
        yield spec["selector"]
    elif obj["kind"] in ("Deployment", "StatefulSet"):
        yield spec["selector"]["matchLabels"]
    elif obj["kind"] == "NetworkPolicy":
        yield spec["podSelector"].get("matchLabels", {})
