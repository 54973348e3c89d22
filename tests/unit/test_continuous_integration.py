"""The public workflow asks for what there is here."""

import re
from pathlib import Path

import pytest
import yaml

from cluster.manifest import OVERLAYS

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(path: Path) -> list[dict]:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_targets_stages_and_overlays_that_are_here(path):
    said = "\n".join(step.get("run", "") for step in steps(path))
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    asked = {target for words in re.findall(r"^make (.+)$", said, re.M) for target in words.split()}
    assert asked and asked <= set(targets)
    images = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "k8s/Dockerfile").read_text("utf-8"), re.M)
    stages = re.findall(r"--target (\w+)", said)
    assert stages and set(stages) <= set(images)
    overlays = re.findall(r"k8s/overlays/([\w-]+)", said)
    assert overlays and all((OVERLAYS / overlay).is_dir() for overlay in overlays)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_to_a_version(path):
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", action) for action in used)
