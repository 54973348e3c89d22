"""What an API server says of itself: its kinds, and that it validates fields."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Resource:
    group_version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    """Name and JSON path of what a table shows, besides the name."""


BUILT_IN = [
    Resource("v1", "namespaces", "Namespace", namespaced=False, short=("ns",)),
    Resource("v1", "configmaps", "ConfigMap", short=("cm",)),
    Resource("v1", "persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",)),
    Resource("v1", "pods", "Pod", short=("po",)),
    Resource("v1", "secrets", "Secret"),
    Resource("v1", "serviceaccounts", "ServiceAccount", short=("sa",)),
    Resource("v1", "services", "Service", short=("svc",)),
    Resource("apps/v1", "deployments", "Deployment", short=("deploy",)),
    Resource("apps/v1", "statefulsets", "StatefulSet", short=("sts",)),
    Resource("batch/v1", "jobs", "Job"),
    Resource("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", short=("netpol",)),
    Resource("rbac.authorization.k8s.io/v1", "roles", "Role"),
    Resource("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
    Resource(
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        short=("crd",),
    ),
]


def discovery(path: str, resources: Sequence[Resource]) -> dict[str, Any] | None:
    """The answer to a discovery path; None for any other."""
    if path == "/version":
        return {"major": "1", "minor": "32", "gitVersion": "v1.32.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": _groups(resources)}
    if path.startswith("/openapi/v3"):
        return _openapi(path.removeprefix("/openapi/v3").strip("/"), resources)
    of_version = re.fullmatch(r"/api/(v1)|/apis/([\w.-]+/\w+)", path)
    if of_version is None:
        return None
    group_version = of_version[1] or of_version[2]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": [
            {
                "name": one.plural,
                "singularName": one.kind.lower(),
                "namespaced": one.namespaced,
                "kind": one.kind,
                "shortNames": list(one.short),
                "verbs": ["create", "delete", "get", "list", "patch", "update"],
            }
            for one in resources
            if one.group_version == group_version
        ],
    }


def _groups(resources: Sequence[Resource]) -> list[dict[str, Any]]:
    groups: dict[str, list[str]] = {}
    for one in resources:
        group, _, version = one.group_version.rpartition("/")
        if group and version not in groups.setdefault(group, []):
            groups[group].append(version)
    return [
        {"name": group, "versions": found, "preferredVersion": found[0]}
        for group, versions in groups.items()
        for found in [[{"groupVersion": f"{group}/{v}", "version": v} for v in versions]]
    ]


def _openapi(path: str, resources: Sequence[Resource]) -> dict[str, Any]:
    """No schemas, but that patches take `fieldValidation`: it is the server that validates."""
    versions = {one.group_version for one in resources}
    routes = {("apis/" if "/" in v else "api/") + v: v for v in sorted(versions)}
    if not path:
        return {"paths": {r: {"serverRelativeURL": f"/openapi/v3/{r}"} for r in routes}}
    parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
    group, _, version = routes[path].rpartition("/")
    return {
        "openapi": "3.0.0",
        "info": {"title": "emulated", "version": "1"},
        "components": {"schemas": {}},
        "paths": {
            f"/{path}/{one.plural}/{{name}}": {
                "patch": {
                    "parameters": [parameter],
                    "x-kubernetes-group-version-kind": {
                        "group": group,
                        "version": version,
                        "kind": one.kind,
                    },
                }
            }
            for one in resources
            if one.group_version == routes[path]
        },
    }
