"""Which planner a proxy is given: `mpo proxy PLANNER`, as its folder's first version."""

import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from jobs.rounds import final_version
from jobs.run import Run
from jobs.view.folders import RUNS
from mpo_core.config import Config, EndpointModelConfig, ProxyConfig, load_config, validated
from mpo_core.connection import Address, address_of, cause_of, trusted
from mpo_core.errors import InputError
from mpo_core.likeness import meant
from mpo_core.overrides import apply_override
from mpo_core.proxy.looking import arms_of
from mpo_core.proxy.planners import (
    Planners,
    Source,
    free_version,
    read_planners,
    read_prompts_of,
)
from mpo_core.run_folder import RunFolder

log = logging.getLogger(__name__)

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
        planner: a served planner's URL, a file of plans, a model folder, a run's folder or its
            name in `runs/`, or the folder of a proxy, whose versions go on.
        model: the planner's name at its server.

    Raises:
        InputError: it is none of these, or the folder has other planners.
    """
    own = read_planners(Path(planner)) if "://" not in planner else None
    if own is not None:
        if model is not None:
            raise _no_model(planner)
        elsewhere = config.folder.resolve() != Path(planner).resolve()
        if "folder" in config.model_fields_set and elsewhere:
            raise InputError(
                f"proxy.folder: {config.folder}, and {planner} is a proxy's folder, which goes on "
                "in its own place; leave proxy.folder out, or copy the folder first"
            )
        return config.model_copy(update={"folder": Path(planner)}), own
    source = source_of(planner, model, config)
    known = read_planners(config.folder)
    if known is None:
        # Of a planner whose record was deleted, there may be conversations.
        version = free_version(arms_of(config.folder))
        return config, Planners(current=version, versions={version: source})
    if source not in known.versions.values():
        raise InputError(
            f"{config.folder}: has other planners ({', '.join(known.versions)}); give this folder "
            "as PLANNER to go on with them, or another one by proxy.folder=DIR"
        )
    return config, known


def source_of(planner: str, model: str | None, config: ProxyConfig) -> Source:
    """Where a planner's plans come from. Raises InputError."""
    if "://" in planner:
        address = _address(planner, config)
        return Source(endpoint=planner, model=_model_there(address, model))
    if model is not None:
        raise _no_model(planner)
    path = Path(planner)
    if path.is_file():
        return Source(plans=path.absolute())
    if RunFolder(path).config.is_file():
        return _of_run(path)
    if path.is_dir():
        env = read_prompts_of(path)
        return Source(folder=path.absolute(), **({"env": env} if env else {}))
    if RunFolder(RUNS / path).config.is_file():
        return _of_run(RUNS / path)
    raise InputError(
        f"{planner}: no planner: expected a URL (http://HOST:8000/v1), a file of plans, a model "
        f"folder, a run's folder or its name in {RUNS}/, or the folder of a proxy"
    )


def check_prompts(planners: Planners, prompts: Path | None) -> None:
    """Raises InputError for a folder of prompts that nobody would be asked by."""
    asked = {n: one for n in planners.used if (one := planners.versions[n]).plans is None}
    if prompts is None:
        return
    if not prompts.is_dir():
        raise InputError(f"--prompts {prompts}: no such folder")
    if not asked:
        raise InputError(f"--prompts {prompts}: the planner is a file of plans, which nobody asks")
    for version, source in asked.items():
        if not (prompts / source.env / "planner.txt").is_file():
            raise InputError(
                f"--prompts {prompts}: holds no {source.env}/planner.txt, by which planner "
                f"{version} would be asked"
            )


def _no_model(planner: str) -> InputError:
    return InputError(f"--model: only with a planner's URL, and {planner} is none")


def _of_run(path: Path) -> Source:
    """The planner that a run has trained last, else the one it began with, and its prompt."""
    config = load_config(RunFolder(path).config)
    where = {"name": path.resolve().name, "runs_dir": path.resolve().parent}
    run = Run(config.model_copy(update=where))
    env = {"env": config.asked_by} if config.asked_by else {}
    for version in (final_version(run), "rft", "sft"):
        if run.trainee(version).summary():
            return Source(folder=run.trainee(version).folder.absolute(), **env)
    begun = config.models[config.planner.model]
    if isinstance(begun, EndpointModelConfig):
        return Source(endpoint=begun.endpoint, model=begun.name or config.planner.model, **env)
    raise InputError(f"{path}: no planner is trained in this run yet; `mpo run {path}` goes on")


def _address(url: str, config: ProxyConfig) -> Address:
    """A served planner's address. Raises InputError for one that holds what must not be kept."""
    parts = urlsplit(url)
    if "@" in parts.netloc or parse_qs(parts.query).keys() - {"api-version"}:
        raise InputError(
            "PLANNER: its URL is kept in the proxy's folder; leave login and query out of it, and "
            f"put the key into the environment variable {config.planner_key_env}"
        )
    served = {"endpoint": url, "api_key_env": config.planner_key_env}
    return address_of("planner", validated(EndpointModelConfig, served, "PLANNER"))


def _model_there(address: Address, named: str | None) -> str:
    """The model of that name, or the only one of a server. A server that does not tell its models
    is believed to have the named one.

    Raises:
        InputError: there is no such model, or none or several are there and none is named.
    """
    try:
        names = _models_of(address)
    except Untold as untold:
        if named is None:
            raise InputError(f"{untold}; name the planner by --model") from untold
        log.warning("%s; nor is whether it has %s", untold, named)
        return named
    listed = ", ".join(names[:8]) or "none"
    if named is None and len(names) != 1:
        raise InputError(f"{address.url}: name the planner by --model; there are: {listed}")
    # Not every server lists all that it answers for, so an empty list says nothing.
    if named is not None and names and named not in names:
        raise InputError(
            f"--model {named}: {address.url} has no such model{meant(named, names)}; "
            f"there are: {listed}"
        )
    return named or names[0]


def _models_of(address: Address) -> list[str]:
    """The models that a server lists. Raises Untold."""
    headers = {"authorization": f"Bearer {address.key}"} if address.key else {}
    try:
        answer = httpx.get(
            f"{address.url}/models", headers=headers, timeout=LIST_S, verify=trusted()
        )
        answer.raise_for_status()
        return [str(row["id"]) for row in answer.json()["data"]]
    except httpx.HTTPStatusError as error:
        raise _untold(address, f"HTTP {error.response.status_code}") from error
    except httpx.HTTPError as error:
        raise _untold(address, cause_of(error, address.url, LIST_S)[0]) from error
    except (ValueError, LookupError, TypeError) as error:
        raise _untold(address, "its answer is no list of models") from error


class Untold(Exception):
    """A server does not tell its models."""


def _untold(address: Address, reason: str) -> Untold:
    return Untold(f"{address.url}: its models are not told ({reason})")
