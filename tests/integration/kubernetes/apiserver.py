"""An emulated Kubernetes API server: as much of the API as kubectl needs, over HTTP on loopback.

It keeps objects in memory and runs nothing: no controllers, no defaults, no admission beyond what
a namespace and a claim's immutable spec ask for. What it does as the real one does: discovery,
resource definitions, strict validation of every field against the kinds' schemas, create, get,
list by labels, merge patch, server-side apply, delete, tables, logs.
"""

import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.integration.kubernetes.discovery import BUILT_IN, Resource, discovery
from tests.integration.kubernetes.schemas import schema_faults

Object = dict[str, Any]
PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[\w.-]+)/(?P<version>\w+))"
    r"(?:/namespaces/(?P<namespace>[\w.-]+))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[\w.:-]+)(?:/(?P<part>status|log))?)?"
)


class Refused(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


@dataclass
class Cluster:
    """What the server keeps. Tests read it, and write what controllers would."""

    url: str = ""
    resources: list[Resource] = field(default_factory=lambda: list(BUILT_IN))
    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    """By plural, namespace and name."""
    logs: dict[str, str] = field(default_factory=dict)
    """By pod."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    changes: int = 0

    def kubeconfig(self) -> str:
        one = {"name": "emulated"}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [one | {"cluster": {"server": self.url}}],
                "users": [one | {"user": {}}],
                "contexts": [one | {"context": {"cluster": "emulated", "user": "emulated"}}],
                "current-context": "emulated",
            }
        )

    def resource(self, group_version: str, plural: str) -> Resource:
        for one in self.resources:
            if (one.group_version, one.plural) == (group_version, plural):
                return one
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def get(self, plural: str, namespace: str, name: str) -> Object:
        try:
            return self.objects[plural, namespace, name]
        except KeyError:
            raise Refused(404, "NotFound", f'{plural} "{name}" not found') from None

    def put(self, resource: Resource, obj: Object, *, strict: bool, keep: bool) -> Object:
        """Create or replace an object; a dry run does not keep it."""
        metadata = obj["metadata"]
        namespace = metadata.get("namespace", "") if resource.namespaced else ""
        if namespace:
            self.get("namespaces", "", namespace)
        if strict and resource.plural != "customresourcedefinitions":
            faults = schema_faults(_as_given(obj))
            if faults:
                raise Refused(400, "BadRequest", "strict decoding error: " + "; ".join(faults))
        key = (resource.plural, namespace, metadata["name"])
        before = self.objects.get(key)
        if before and resource.kind == "PersistentVolumeClaim" and before["spec"] != obj["spec"]:
            raise Refused(422, "Invalid", "spec is immutable after creation")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", now)
        if not keep:
            return obj
        if before is None or before != obj:
            self.changes += 1
            metadata["resourceVersion"] = str(self.changes)
        self.objects[key] = obj
        if resource.plural == "customresourcedefinitions":
            self._define(obj)
        return obj

    def set_status(self, plural: str, namespace: str, name: str, **status: Any) -> None:
        with self.lock:
            obj = self.get(plural, namespace, name)
            obj["status"] = obj.get("status", {}) | status

    def _define(self, definition: Object) -> None:
        spec, names = definition["spec"], definition["spec"]["names"]
        for version in spec["versions"]:
            self.resources.append(
                Resource(
                    f"{spec['group']}/{version['name']}",
                    names["plural"],
                    names["kind"],
                    spec["scope"] == "Namespaced",
                    (names["singular"], *names.get("shortNames", ())),
                    tuple(
                        (column["name"], column["jsonPath"])
                        for column in version.get("additionalPrinterColumns", ())
                    ),
                )
            )
        established = {"type": "Established", "status": "True"}
        definition["status"] = {"conditions": [established], "acceptedNames": names}


@contextmanager
def api_server() -> Iterator[Cluster]:
    cluster = Cluster()

    class Bound(_Handler):
        pass

    Bound.cluster = cluster
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    server.daemon_threads = True
    cluster.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Which holds every small answer back for 40 ms.
    cluster: Cluster

    def log_message(self, *_: object) -> None: ...

    def _answer(self) -> None:
        # Read always: what is left of a body would be taken for the next request.
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        self.kind = self.headers.get("Content-Type", "")
        self.query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        try:
            if "protobuf" in self.kind:
                raise Refused(415, "UnsupportedMediaType", "this server reads JSON and YAML")
            with self.cluster.lock:
                code, answer = self._route(url.path)
        except Refused as refusal:
            code, answer = refusal.code, _status("Failure", refusal)
        is_text = isinstance(answer, str)
        data = answer.encode() if is_text else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer

    def _route(self, path: str) -> tuple[int, Any]:
        described = discovery(path, self.cluster.resources)
        if described is not None:
            return 200, described
        match = PATH.fullmatch(path)
        if match is None:
            raise Refused(404, "NotFound", f"no such path: {path}")
        part = match.groupdict()
        resource = self.cluster.resource(
            part["core"] or f"{part['group']}/{part['version']}", part["plural"]
        )
        namespace, name = part["namespace"] or "", part["name"]
        if part["part"] == "log":
            return 200, self.cluster.logs.get(name, "")
        if self.command == "POST":
            return 201, self._create(resource, namespace)
        if name is None:
            return 200, self._list(resource, namespace)
        return 200, self._one(resource, namespace, name)

    def _one(self, resource: Resource, namespace: str, name: str) -> Object:
        if self.command == "PATCH":
            return self._patch(resource, namespace, name)
        found = self.cluster.get(resource.plural, namespace, name)
        if self.command == "DELETE":
            del self.cluster.objects[resource.plural, namespace, name]
            return _status("Success")
        return self._shown(resource, [found], found)

    def _create(self, resource: Resource, namespace: str) -> Object:
        obj = json.loads(self.body)
        name = obj["metadata"]["name"]
        if resource.namespaced:
            obj["metadata"]["namespace"] = namespace
        if (resource.plural, namespace, name) in self.cluster.objects:
            raise Refused(409, "AlreadyExists", f'{resource.plural} "{name}" already exists')
        return self._put(resource, obj)

    def _patch(self, resource: Resource, namespace: str, name: str) -> Object:
        patch = (yaml.safe_load if "yaml" in self.kind else json.loads)(self.body)
        # Server-side apply makes what is not there; other patches do not. Lists are replaced whole.
        if "apply-patch" in self.kind:
            before = self.cluster.objects.get((resource.plural, namespace, name), {})
        else:
            before = self.cluster.get(resource.plural, namespace, name)
        return self._put(resource, _merged(before, patch))

    def _put(self, resource: Resource, obj: Object) -> Object:
        strict = self.query.get("fieldValidation") == "Strict"
        return self.cluster.put(resource, obj, strict=strict, keep="dryRun" not in self.query)

    def _list(self, resource: Resource, namespace: str) -> Object:
        wanted = dict(
            pair.split("=") for pair in self.query.get("labelSelector", "").split(",") if pair
        )
        items = [
            obj
            for (plural, place, _), obj in sorted(self.cluster.objects.items())
            if plural == resource.plural
            and place in (namespace, *([place] if not namespace else []))
            and wanted.items() <= obj["metadata"].get("labels", {}).items()
        ]
        whole = {
            "apiVersion": resource.group_version,
            "kind": f"{resource.kind}List",
            "metadata": {"resourceVersion": str(self.cluster.changes)},
            "items": items,
        }
        return self._shown(resource, items, whole)

    def _shown(self, resource: Resource, items: list[Object], whole: Object) -> Object:
        """Objects as they are, or as the table that kubectl asks for and prints."""
        if "as=Table" not in self.headers.get("Accept", ""):
            return whole
        names = ["Name", *(name for name, _ in resource.columns)]
        return {
            "apiVersion": "meta.k8s.io/v1",
            "kind": "Table",
            "metadata": {},
            "columnDefinitions": [{"name": n, "type": "string", "format": ""} for n in names],
            "rows": [
                {
                    "cells": [
                        obj["metadata"]["name"],
                        *(_value(obj, path) for _, path in resource.columns),
                    ],
                    "object": {
                        "apiVersion": "meta.k8s.io/v1",
                        "kind": "PartialObjectMetadata",
                        "metadata": obj["metadata"],
                    },
                }
                for obj in items
            ],
        }


def _status(status: str, refusal: Refused | None = None) -> Object:
    answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": status}
    if refusal:
        answer |= {"code": refusal.code, "reason": refusal.reason, "message": str(refusal)}
    return answer


def _as_given(obj: Object) -> Object:
    """An object without what the server and controllers have put into it."""
    metadata = {
        key: value
        for key, value in obj["metadata"].items()
        if key not in ("uid", "creationTimestamp", "resourceVersion")
    }
    return {key: value for key, value in obj.items() if key != "status"} | {"metadata": metadata}


def _merged(before: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    after = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = _merged(after.get(key), value)
    return after


def _value(obj: Any, path: str) -> str:
    """What a table's cell shows of a JSON path like `.status.jobStatus`."""
    if path == ".metadata.creationTimestamp":
        made = datetime.fromisoformat(obj["metadata"]["creationTimestamp"])
        return f"{(datetime.now(UTC) - made).seconds}s"
    for key in path.strip(".").split("."):
        obj = obj.get(key, {}) if isinstance(obj, dict) else {}
    return "" if isinstance(obj, dict) else str(obj)
