"""Rendered manifests, and the pods in them."""

import copy
import functools
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.manifest import OVERLAYS
from tests.commandline import ROOT

K8S = ROOT / "k8s"
NAMES = sorted(path.name for path in OVERLAYS.iterdir())
CRDS = ROOT.parent / "shared" / "data" / "kuberay_crds"
POD_OWNERS = {
    "Pod": [()],
    "Deployment": [("spec", "template")],
    "StatefulSet": [("spec", "template")],
    "Job": [("spec", "template")],
    "RayJob": [
        ("spec", "rayClusterSpec", "headGroupSpec", "template"),
        ("spec", "rayClusterSpec", "workerGroupSpecs", "*", "template"),
        ("spec", "submitterPodTemplate"),
    ],
    "RayService": [
        ("spec", "rayClusterConfig", "headGroupSpec", "template"),
        ("spec", "rayClusterConfig", "workerGroupSpecs", "*", "template"),
    ],
}

needs_kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
needs_crds = pytest.mark.skipif(not CRDS.is_dir(), reason=f"KubeRay's schemas are not in {CRDS}")


@functools.cache
def _kustomized(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True
    )
    return list(yaml.safe_load_all(done.stdout))


def kustomized(folder: Path) -> list[dict[str, Any]]:
    """The objects that kubectl makes of a kustomization; the caller's own to change."""
    return copy.deepcopy(_kustomized(folder))


def overlay(name: str) -> list[dict[str, Any]]:
    return kustomized(OVERLAYS / name)


def one(objects: Sequence[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    """The only object of a kind, or of a kind and a name."""
    [found] = [
        o for o in objects if o["kind"] == kind and (name is None or o["metadata"]["name"] == name)
    ]
    return found


def pod_templates(obj: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The metadata and spec of every pod that an object makes or is."""
    for path in POD_OWNERS.get(obj["kind"], []):
        for template in _at(obj, path):
            yield {part: template[part] for part in ("metadata", "spec") if part in template}


def _at(node: Any, path: Sequence[str]) -> Iterator[Any]:
    if not path:
        yield node
    elif path[0] == "*":
        for item in node:
            yield from _at(item, path[1:])
    elif path[0] in node:
        yield from _at(node[path[0]], path[1:])


def label(obj: dict[str, Any]) -> str:
    return f"{obj['kind']}/{obj['metadata']['name']}"
