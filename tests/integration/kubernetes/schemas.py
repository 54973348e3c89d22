"""Strict validation against schemas: what an API server with these kinds would refuse.

Core kinds by kubernetes-validate; KubeRay's by the schemas of its resource definitions, applied as
an API server does: defaults first, then every unknown field is an error.
"""

import copy
import functools
import json
import lzma
from typing import Any

import jsonschema
import kubernetes_validate

from tests.integration.kubernetes.manifests import CRDS, label, pod_templates

KUBERNETES = "1.37"
KUBERAY = {"RayJob": "rayjobs", "RayService": "rayservices", "RayCluster": "rayclusters"}


def schema_faults(obj: dict[str, Any]) -> list[str]:
    """What is wrong with an object, a line each; nothing where it is valid."""
    # A validation reads files of megabytes; most objects are met again and again.
    return list(_faults(json.dumps(obj)))


@functools.cache
def _faults(text: str) -> list[str]:
    obj = json.loads(text)
    if obj.get("apiVersion", "").startswith("ray.io/"):
        faults = _kuberay_faults(obj)
    else:
        faults = _core_faults(obj)
    for template in pod_templates(obj):
        # KubeRay's schemas hold less of a pod than Kubernetes itself does.
        faults += _core_faults(
            {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}, "template": template}
        )
    return [f"{label(obj)}: {fault}" for fault in faults]


def definition(plural: str) -> dict[str, Any]:
    """KubeRay's definition of a resource, as it is applied to a cluster."""
    return json.loads(lzma.open(CRDS / f"ray.io_{plural}.json.xz").read())


def _core_faults(obj: dict[str, Any]) -> list[str]:
    try:
        kubernetes_validate.validate(obj, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"{obj.get('apiVersion')} {obj.get('kind')}: no such kind: {error.message}"]
    return []


def _kuberay_faults(obj: dict[str, Any]) -> list[str]:
    if obj["kind"] not in KUBERAY or obj["apiVersion"] != "ray.io/v1":
        return [f"{obj['apiVersion']} {obj['kind']}: no such kind"]
    schema = _strict_schema(KUBERAY[obj["kind"]])
    obj = copy.deepcopy(obj)
    # An API server checks an object's own metadata itself.
    metadata = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": obj["metadata"]}
    faults = _core_faults(metadata)
    obj["metadata"] = {}
    _apply_defaults(obj, schema)
    errors = jsonschema.Draft202012Validator(schema).iter_errors(obj)
    return faults + [f"{'.'.join(map(str, e.path))}: {e.message}" for e in errors]


@functools.cache
def _strict_schema(plural: str) -> dict[str, Any]:
    [version] = [v for v in definition(plural)["spec"]["versions"] if v["name"] == "v1"]
    return _strict(version["schema"]["openAPIV3Schema"])


def _strict(schema: Any) -> Any:
    """A definition's schema, in which what is not named is forbidden."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {
        key: {name: _strict(field) for name, field in value.items()}
        if key == "properties"
        else value
        if key in ("default", "enum", "required")
        else _strict(value)
        for key, value in schema.items()
    }
    if "properties" in schema and "additionalProperties" not in schema:
        strict["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        strict["type"] = ["integer", "string"]
    return strict


def _apply_defaults(node: Any, schema: dict[str, Any]) -> None:
    if isinstance(node, dict):
        for name, field in schema.get("properties", {}).items():
            if "default" in field and name not in node:
                node[name] = copy.deepcopy(field["default"])
            if name in node:
                _apply_defaults(node[name], field)
    elif isinstance(node, list):
        for item in node:
            _apply_defaults(item, schema.get("items", {}))
