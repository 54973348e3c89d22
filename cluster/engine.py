"""The engine replica: `ray.serve.llm`'s server, with adapters read from a folder.

`ray.serve.llm` itself fetches adapters from cloud storage only; clusters that train with this
suite have a shared file system.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest
from vllm.exceptions import VLLMClientError

from cluster.adapters import version_folder
from cluster.calls import Answer, Request
from cluster.ray_llm import CallbackBase, DiskMultiplexConfig, next_adapter_number
from mpo_core.refusals import last_line


class FolderAdapters:
    """Finds the adapter of a model id `<engine>:<version>` in the folder of published adapters."""

    def __init__(self, **_: object) -> None:
        self._root = Path(os.environ["MPO_ADAPTERS"])

    async def load_model_from_config(
        self, lora_model_id: str, llm_config: Any
    ) -> DiskMultiplexConfig:
        folder = version_folder(self._root, lora_model_id.partition(":")[2])
        if folder is None:
            raise ValueError(f"{lora_model_id}: no such adapter in {self._root}")
        return DiskMultiplexConfig(
            model_id=lora_model_id,
            max_total_tokens=None,
            local_path=str(folder),
            lora_assigned_int_id=next_adapter_number(),
        )


class LocalWeights(CallbackBase):
    """Skips the download task of a replica whose weights are a folder: it would import all of
    vLLM once more, in a process of its own, to find nothing to do."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


class AdapterServer(LLMServer):
    """One replica of an engine."""

    # Serve awaits it.
    async def __init__(self, llm_config: Any, **kwargs: Any) -> None:  # type: ignore[misc]
        self._adapter_lock = asyncio.Lock()
        if llm_config.accelerator_config.kind == "cpu":
            from cluster.cpu_engine import OneProcessEngine

            kwargs["engine_cls"] = OneProcessEngine
        await super().__init__(llm_config, model_downloader=FolderAdapters, **kwargs)

    async def chats(
        self, requests: list[Request], gather_s: float
    ) -> AsyncIterator[list[tuple[int, Answer]]]:
        """Answer many requests for chat completions, of this engine or of one of its adapters.

        Args:
            gather_s: for which an answer waits for others.

        Yields:
            answers that are there, each with the index of its request, in any order.
        """
        await self._maybe_resolve_lora_from_multiplex()
        asked = {asyncio.create_task(self._chat(r)): i for i, r in enumerate(requests)}
        try:
            while asked:
                done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                if len(done) < len(asked):
                    await asyncio.sleep(gather_s)
                    done = {task for task in asked if task.done()}
                yield [(asked.pop(task), task.result()) for task in done]
        finally:
            for task in asked:
                task.cancel()

    async def _chat(self, fields: Request) -> Answer:
        """One request's answer; what fails it fails no other that came with it."""
        try:
            request = ChatCompletionRequest(**fields)
        except (ValueError, TypeError, VLLMClientError) as error:
            return {"error": {"message": " ".join(str(error).split()), "code": 400}}
        try:
            async for answer in self.engine.chat(request):
                return answer.model_dump()
        except Exception as error:
            return {"failed": last_line(error)}
        return {"failed": "the engine gave no answer"}

    async def _maybe_resolve_lora_from_multiplex(self) -> None:
        # One request at a time: vLLM refuses an adapter that a concurrent request is loading too.
        async with self._adapter_lock:
            await super()._maybe_resolve_lora_from_multiplex()

    async def _start_engine(self) -> None:
        # Without the usage report of the base class, which also starts an actor for it.
        await self.engine.start()
        # The first request for probabilities makes vLLM compile, which takes many seconds.
        request = CompletionRequest(
            model=self._llm_config.model_id, prompt="Hello", max_tokens=1, logprobs=1
        )
        async for _ in self.engine.completions(request):
            pass
