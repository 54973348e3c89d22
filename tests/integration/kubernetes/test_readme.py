"""The commands of k8s/README.md work, in their order."""

import re
import subprocess

import yaml

from cluster.manifest import OVERLAYS
from tests.commandline import ROOT
from tests.integration.kubernetes.manifests import K8S, needs_crds, needs_kubectl
from tests.integration.kubernetes.rules import rule_faults
from tests.integration.kubernetes.schemas import schema_faults

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@needs_kubectl
@needs_crds
def test_the_readmes_commands_work_against_an_emulated_api_server(cluster, operator_installed):
    blocks = BLOCK.findall((K8S / "README.md").read_text())
    assert len(blocks) == 3
    for block in blocks:
        if "serve" in block:
            # It is for another namespace, whose volumes many nodes can mount.
            for key in [key for key in cluster.objects if key[0] == "persistentvolumeclaims"]:
                del cluster.objects[key]
        for command in block.splitlines():
            line = ["bash", "-o", "pipefail", "-c", command]
            done = subprocess.run(line, check=False, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert ("rayservices", "mpo", "mpo") in cluster.objects
    assert ("secrets", "mpo", "mpo-postgres") in cluster.objects


@needs_crds
def test_the_namespace_and_the_shell_are_valid():
    for name in ("namespace.yaml", "shell.yaml"):
        obj = yaml.safe_load((K8S / name).read_text())
        assert schema_faults(obj) == [] and rule_faults(obj) == []


def test_every_overlay_and_component_is_described():
    text = (K8S / "README.md").read_text()
    for path in [*OVERLAYS.iterdir(), *(K8S / "components").iterdir()]:
        assert path.name in text
