"""Who writes the plans of a planner's version: a model, served or in this process, or a file."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from mpo_core.builtin_models import resolve_source
from mpo_core.chat import ChatModel, ChatRequest
from mpo_core.completions import Reply
from mpo_core.config import EndpointModelConfig, ProxyConfig, ServedModelConfig, validated
from mpo_core.errors import InputError
from mpo_core.formats import plans_by_text, words_of
from mpo_core.hub import hub_check
from mpo_core.markup import contained
from mpo_core.model_folder import model_folder_fault
from mpo_core.planning import NoPlan, Sampling, draw_plans
from mpo_core.prompts import Prompts
from mpo_core.proxy.planners import FILE, Source
from mpo_core.proxy.records import task_of
from mpo_core.setup import Model
from mpo_core.textfile import read_text
from mpo_core.types import Task

TRIAL = task_of("Boil some water.")
NOT_IN_FILE = "not in the file"
FASTER = (
    "raise proxy.planner_timeout_s, lower proxy.max_tokens, or serve it elsewhere and name its URL"
)
LONGEST_ANSWER = 2**15
"""Characters, whatever the model's server makes of `max_tokens`."""


class Writer(Protocol):
    """Writes plans for tasks of callers."""

    async def ready(self) -> None:
        """Be able to answer at once; may take long. Raises InputError where it cannot be."""
        ...

    async def pace(self) -> str:
        """How long a plan takes on this machine, in words; empty where it is written elsewhere."""
        ...

    async def write(self, task: Task, sample: int, *, sampled: bool) -> str:
        """A plan's text.

        Args:
            sample: how many plans the task has had before; another one gives another plan.
            sampled: at the planner's temperature; else the greedy plan.

        Raises:
            NoPlan: the answers held no plan, or the file has none for the task.
            ModelUnavailable, ContextFull, InputError: of the model.
        """
        ...

    def known(self, task: Task) -> list[str]:
        """The plans that it has for a task without writing any."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class FileWriter:
    """Plans that stand in a file, by their tasks' texts; several of a task are taken in turn."""

    def __init__(self, path: Path) -> None:
        """Raises InputError for a file that cannot be used."""
        self._path = path
        self._plans = plans_by_text(path)

    async def ready(self) -> None:
        """It is."""

    async def pace(self) -> str:
        return ""

    async def write(self, task: Task, sample: int, *, sampled: bool) -> str:
        texts = self.known(task)
        if not texts:
            raise NoPlan(f"{self._path}: no plan for this task", fault=NOT_IN_FILE)
        return texts[sample % len(texts)]

    def known(self, task: Task) -> list[str]:
        return self._plans.get(words_of(task.description), [])

    async def close(self) -> None:
        pass


class Brief:
    """A model of whose answers those alone are read that are no longer than a plan can be."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model
        self.name, self.fingerprint = model.name, model.fingerprint

    async def chat(self, request: ChatRequest) -> list[Reply]:
        """As the model; raises NoPlan for an answer that is too long, before any of it is read."""
        replies = await self._model.chat(request)
        longest = max((len(reply.text) for reply in replies), default=0)
        if longest > LONGEST_ANSWER:
            raise NoPlan(f"an answer of {longest} characters", fault="answer too long")
        return replies

    async def close(self) -> None:
        """Let go of the model's connections."""
        await self._model.close()


class ModelWriter:
    """Plans that a model is asked for, as the suite asks its planners."""

    def __init__(
        self, model: ChatModel, prompts: Prompts, config: ProxyConfig, weights: Path | None = None
    ) -> None:
        """
        Args:
            weights: the folder of a model of this process.
        """
        self._model, self._prompts, self._config = model, prompts, config
        self._weights = weights
        self._slots = asyncio.Semaphore(config.planner_concurrency)

    async def ready(self) -> None:
        """Weights of this process are loaded."""
        if self._weights is None:
            return
        hello = ChatRequest([{"role": "user", "content": "Hello"}], max_tokens=1)
        try:
            await self._model.chat(hello)
        except Exception as error:
            # The libraries that load weights raise anything at all.
            said = " ".join(str(error).split())[:300]
            raise InputError(
                f"{self._weights}: this planner cannot be used ({type(error).__name__}: {said}); "
                "see whether its weights are whole, and its adapter one of this base model"
            ) from error

    async def pace(self) -> str:
        if self._weights is None:
            return ""
        limit, began = self._config.planner_timeout_s, time.monotonic()
        try:
            async with asyncio.timeout(limit):
                await self.write(TRIAL, 0, sampled=False)
        except TimeoutError:
            return (
                f"wrote no plan within {limit:g} s on this machine, so that most conversations go "
                f"on without one; {FASTER}"
            )
        except NoPlan as error:
            took = time.monotonic() - began
            return (
                f"wrote no plan for a simple task in {took:.1f} s ({error.fault}). {error.remedy}"
            )
        except Exception as error:
            said = " ".join(str(error).split())[:300]
            return f"wrote no plan for a simple task ({type(error).__name__}: {said})"
        took = time.monotonic() - began
        said = f"writes a plan in {took:.1f} s on this machine"
        if took > limit / 2:
            said += f", and conversations wait {limit:g} s for one at most; {FASTER}"
        return said

    async def write(self, task: Task, sample: int, *, sampled: bool) -> str:
        sampling = Sampling(
            per_task=1,
            temperature=self._config.temperature if sampled else 0.0,
            max_tokens=self._config.max_tokens,
            seed=0,
            resamples=1,
            asked="proxy",
        )
        messages = self._prompts.planner_messages(task.description)
        async with self._slots:
            [(text, _)], _ = await draw_plans(
                task.id,
                messages,
                Brief(self._model),
                sampling,
                self._model.fingerprint,
                count=1,
                first=sample,
            )
        return contained(text)

    def known(self, task: Task) -> list[str]:
        return []

    async def close(self) -> None:
        await self._model.close()


def writer_of(source: Source, folder: Path, prompts: Prompts, config: ProxyConfig) -> Writer:
    """The writer of a version.

    Args:
        folder: what the source's relative paths are relative to.

    Raises:
        InputError: the source cannot be used.
    """
    if source.plans is not None:
        return FileWriter(folder / source.plans)
    settings: dict[str, Any] = {"concurrency": config.planner_concurrency}
    if source.endpoint is not None:
        settings |= {"endpoint": source.endpoint, "name": source.model, "retries": 1}
        settings |= {"api_key_env": config.planner_key_env, "timeout_s": config.planner_timeout_s}
        served = validated(EndpointModelConfig, settings, f"{folder / FILE}: {source.endpoint}")
        return ModelWriter(Model("planner", served).connect(), prompts, config)
    assert source.folder is not None
    weights = folder / source.folder
    base, trained = _weights(weights)
    here = ServedModelConfig(source=str(base), **settings)
    model = Model("planner", here, trained=trained).connect()
    return ModelWriter(model, prompts, config, weights)


def let_go() -> None:
    """Free the memory of weights that were loaded into this process."""
    if generation := sys.modules.get("mpo_core.training.generation"):
        generation.forget()


def _weights(folder: Path) -> tuple[Path | str, Path | None]:
    """The base model of a folder, and the adapter in it where it holds one. Raises InputError."""
    adapter = folder / "adapter_config.json"
    if not adapter.is_file():
        if fault := model_folder_fault(folder):
            raise InputError(f"{folder}: no model folder: {fault}")
        return folder, None
    try:
        base = json.loads(read_text(adapter))["base_model_name_or_path"]
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{adapter}: names no base model (base_model_name_or_path)") from error
    if not isinstance(base, str):
        raise InputError(f"{adapter}: base_model_name_or_path: expected a folder, found {base!r}")
    try:
        found = resolve_source(base)
    except InputError as error:
        raise InputError(f"{adapter}: its base model: {error}") from error
    missing = hub_check("planner", base)
    if missing and missing.status != "ok":
        raise InputError(
            f"{adapter}: its base model: {missing.found}; set base_model_name_or_path there to the "
            "folder that holds it"
        )
    return found, folder
