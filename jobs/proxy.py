"""Which planner a proxy is given: `mpo proxy PLANNER`, as its folder's first version."""

import json
from collections.abc import Sequence
from pathlib import Path

import httpx

from jobs.rounds import final_version
from jobs.run import Run
from mpo_core.config import Config, ModelConfig, ProxyConfig, load_config, validated
from mpo_core.connection import address_of
from mpo_core.errors import InputError
from mpo_core.overrides import apply_override
from mpo_core.proxy.planners import Planners, Source, read_planners
from mpo_core.run_folder import RunFolder

FIRST = "v1"
LIST_S = 30


def proxy_settings(overrides: Sequence[str]) -> ProxyConfig:
    """The settings of `proxy.key=value` alone. Raises InputError for others, and for faults."""
    tree: dict = {}
    for override in overrides:
        apply_override(tree, override, Config)
    if others := [key for key in tree if key != "proxy"]:
        raise InputError(f"{others[0]}: only settings of the proxy, such as proxy.off=0.1")
    return validated(ProxyConfig, tree.get("proxy", {}), "proxy")


def planners_of(
    planner: str, model: str | None, config: ProxyConfig
) -> tuple[ProxyConfig, Planners]:
    """The settings, and the planners that the proxy's folder names or is to name.

    Args:
        planner: a served planner's URL, a file of plans, a model folder, a run's folder, or the
            folder of a proxy, whose versions go on.
        model: the planner's name at its server.

    Raises:
        InputError: it is none of these, or the folder has other planners.
    """
    own = read_planners(Path(planner)) if "://" not in planner else None
    if own is not None:
        return config.model_copy(update={"folder": Path(planner)}), own
    source = source_of(planner, model, config)
    known = read_planners(config.folder)
    if known is None:
        return config, Planners(current=FIRST, versions={FIRST: source})
    if source not in known.versions.values():
        raise InputError(
            f"{config.folder}: has other planners ({', '.join(known.versions)}); give this folder "
            "as PLANNER to go on with them, or another one by proxy.folder=DIR"
        )
    return config, known


def source_of(planner: str, model: str | None, config: ProxyConfig) -> Source:
    """Where a planner's plans come from. Raises InputError."""
    if "://" in planner:
        return Source(endpoint=planner, model=model or _only_model(planner, config))
    if model is not None:
        raise InputError(f"--model: only with a planner's URL, and {planner} is none")
    path = Path(planner)
    if path.is_file():
        return Source(plans=path.absolute())
    if RunFolder(path).config.is_file():
        return _of_run(path)
    if path.is_dir():
        return Source(folder=path.absolute())
    raise InputError(
        f"{planner}: no planner: expected a URL (http://HOST:8000/v1), a file of plans, a model "
        "folder, a run's folder or the folder of a proxy"
    )


def _of_run(path: Path) -> Source:
    """The planner that a run has trained last, else the one it began with, and its prompt."""
    config = load_config(RunFolder(path).config)
    where = {"name": path.resolve().name, "runs_dir": path.resolve().parent}
    run = Run(config.model_copy(update=where))
    env = {"env": next(iter(config.envs))} if len(config.envs) == 1 else {}
    if config.source == "feedback":
        env = {"env": config.feedback.prompts}
    for version in (final_version(run), "rft", "sft"):
        if run.trainee(version).summary():
            return Source(folder=run.trainee(version).folder.absolute(), **env)
    begun = config.models[config.planner.model]
    if begun.endpoint:
        return Source(endpoint=begun.endpoint, model=begun.name or config.planner.model, **env)
    raise InputError(f"{path}: no planner is trained in this run yet; `mpo run {path}` goes on")


def _only_model(url: str, config: ProxyConfig) -> str:
    """The model of a server that has one. Raises InputError where it has none or several."""
    served = validated(ModelConfig, {"endpoint": url, "api_key_env": config.planner_key_env}, url)
    address = address_of("planner", served)
    headers = {"authorization": f"Bearer {address.key}"} if address.key else {}
    try:
        answer = httpx.get(f"{address.url}/models", headers=headers, timeout=LIST_S)
        names = [str(row["id"]) for row in answer.raise_for_status().json()["data"]]
    except (httpx.HTTPError, json.JSONDecodeError, LookupError, TypeError) as error:
        raise InputError(
            f"{address.shown}: its models are not told ({' '.join(str(error).split())}); name the "
            "planner by --model"
        ) from error
    if len(names) != 1:
        listed = ", ".join(names[:8]) or "none"
        raise InputError(f"{address.shown}: name the planner by --model; there are: {listed}")
    return names[0]
