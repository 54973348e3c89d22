"""What each setting says it bears on, and that all who tell runs apart go by it."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from pydantic import BaseModel, Field

from cluster.manifest import in_cluster
from jobs.configs import named_config
from jobs.evaluate import _settings
from mpo_core.config import (
    Config,
    Section,
    SftConfig,
    bearing_on,
    decides,
    deciding,
    identity,
    operational,
    settings,
)
from mpo_core.config.declare import Bearing, bearing

WHOLE = [
    "planner.pg={lora: {rank: 8, alpha: 16}}",
    "planner.rft.training={lora: {rank: 8, alpha: 16}}",
    "agent.sft={}",
]


def sections_below(kind: Any) -> list[type[BaseModel]]:
    """The sections that an annotation names."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [section for part in get_args(kind) for section in sections_below(part)]


def undeclared(section: type[BaseModel]) -> set[str]:
    """The settings of a section, and below it, that do not say what they bear on.

    A field that is a section or holds sections leaves it to them; one that may be left out is a
    setting besides.
    """
    found = set()
    for name, field in section.model_fields.items():
        below = sections_below(field.annotation)
        may_be_left_out = type(None) in get_args(field.annotation)
        if bearing(field) is None and (may_be_left_out or not below):
            found.add(f"{section.__name__}.{name}")
        for one in below:
            found |= undeclared(one) if one is not BaseModel else set()
    return found


def suites_own_environments() -> list[type[BaseModel]]:
    points = entry_points(group="mpo_core.environments")
    return [point.load().Config for point in points if point.value.startswith("mpo_core.")]


def test_every_setting_says_whether_it_decides_results():
    environments = suites_own_environments()
    assert {one.__name__ for one in environments} == {"ALFWorldConfig", "ScienceWorldConfig"}
    assert set.union(*map(undeclared, [Config, *environments])) == set()


class Undeclared(SftConfig):
    new: int = 3
    told: float = decides(0.5, gt=0)
    held: SftConfig = SftConfig()
    left_out: SftConfig | None = None
    limited: int = Field(3, ge=0)


class Above(Section):
    below: dict[str, Undeclared] = Field({})


def test_a_new_field_that_is_not_declared_either_way_is_found():
    names = {"Undeclared.new", "Undeclared.left_out", "Undeclared.limited"}
    assert undeclared(Undeclared) == undeclared(Above) == names


def test_what_says_nothing_decides():
    assert deciding(Undeclared()).keys() - deciding(SftConfig()).keys() >= {"new", "limited"}


@contextmanager
def another_value(config: Config, key: str) -> Iterator[None]:
    """Another value of a setting for a while, however senseless."""
    *path, name = key.split(".")
    node: Any = config
    for part in path:
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    # Past all validation, which would want to be told of other settings too.
    before, node.__dict__[name] = node.__dict__[name], "another"
    try:
        yield
    finally:
        node.__dict__[name] = before


@pytest.mark.slow
@pytest.mark.parametrize("told", ["decides", "adds", "selects", "operational"])
def test_all_identities_go_by_what_a_setting_says(told):
    config = named_config("demo-paper", WHOLE)
    decided, known = deciding(config), identity(config)
    keys = [one.key for one in settings(config) if one.bearing == told]
    assert keys and get_args(Bearing) == ("decides", "adds", "selects", "operational")
    for key in keys:
        with another_value(config, key):
            assert (deciding(config) != decided) == (told == "decides"), key
            bears = told != "operational" and key.partition(".")[0] not in config.moot()
            assert (identity(config) != known) == bears, key
    assert identity(config) == known


def test_the_settings_that_reports_must_share_are_those_that_decide():
    prompts = {"toy": SimpleNamespace(fingerprint="p")}
    run = SimpleNamespace(config=named_config("demo-paper", WHOLE), prompts=prompts)
    shared = _settings(run)
    assert shared.pop("prompts.toy") == "p"
    assert shared.items() <= bearing_on(run.config, "decides", "adds").items()
    assert {"planner.temperature", "training.beta", "evaluation.plan_samples"} <= shared.keys()
    elsewhere = {key.split(".")[0] for key in deciding(run.config).keys() - shared.keys()}
    assert elsewhere - {"seed", "envs", "models", "prompts_dir"} == {"agent", "planner", "training"}


def test_a_config_in_the_cluster_bears_the_mark_that_it_has_here():
    config = named_config("demo-llm", ["cluster.address=auto", "launch.k8s.overlay=gpu"])
    assert identity(in_cluster(config)) == identity(config)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("planner.temperature", "decides"),
        ("agent.plan_mode", "decides"),
        ("planner.model", "decides"),
        ("models.smollm2.source", "decides"),
        ("envs.alfworld.generated.seed", "decides"),
        ("planner.sft.precision", "decides"),
        ("evaluation.plan_samples", "adds"),
        ("evaluation.arms", "selects"),
        ("models.smollm2.concurrency", "operational"),
        ("models.llm.endpoint", "operational"),
        ("models.llm.omit", "decides"),
        ("envs.alfworld.workers", "operational"),
        ("planner.sft.save_steps", "operational"),
        ("planner.sft.max_failures", "operational"),
        ("planner.sft.workers", "operational"),
        ("cluster.address", "operational"),
        ("launch.slurm.hours", "operational"),
        ("tracking.uri", "operational"),
        ("name", "operational"),
    ],
)
def test_settings_say_what_they_bear_on(key, told):
    config = named_config(
        "demo-paper", ["models.llm={endpoint: 'http://a/v1'}"], unused_models=True
    )
    found = {one.key: one.bearing for one in settings(config)}
    assert found[key] == told


def test_a_declared_field_keeps_its_limits_default_and_meaning():
    class Own(Section):
        size: int = operational(3, ge=1)
        """How large."""

    [size] = settings(Own())
    assert (size.key, size.value, size.meaning) == ("size", 3, "How large.")
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Own(size=0)
