"""The engine replica: `ray.serve.llm`'s server, with adapters read from a folder.

`ray.serve.llm` itself fetches adapters from cloud storage only; clusters that train with this
suite have a shared file system.
"""

import asyncio
import os
from pathlib import Path

from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.common.models import global_id_manager
from ray.llm._internal.serve.core.configs.accelerators import CPUConfig
from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import CompletionRequest

from cluster.adapters import version_folder


class FolderAdapters:
    """Finds the adapter of a model id `<engine>:<version>` in the folder of published adapters."""

    def __init__(self, **_: object) -> None:
        self._root = Path(os.environ["MPO_ADAPTERS"])

    async def load_model_from_config(self, lora_model_id: str, llm_config) -> DiskMultiplexConfig:
        folder = version_folder(self._root, lora_model_id.partition(":")[2])
        if folder is None:
            raise ValueError(f"{lora_model_id}: no such adapter in {self._root}")
        return DiskMultiplexConfig(
            model_id=lora_model_id,
            max_total_tokens=None,
            local_path=str(folder),
            lora_assigned_int_id=global_id_manager.next(),
        )


class LocalWeights(CallbackBase):
    """Skips the download task of a replica whose weights are a folder: it would import all of
    vLLM once more, in a process of its own, to find nothing to do."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


class AdapterServer(LLMServer):
    """One replica of an engine."""

    async def __init__(self, llm_config, **kwargs) -> None:
        self._adapter_lock = asyncio.Lock()
        if isinstance(llm_config.accelerator_config, CPUConfig):
            from cluster.cpu_engine import OneProcessEngine

            kwargs["engine_cls"] = OneProcessEngine
        await super().__init__(llm_config, model_downloader=FolderAdapters, **kwargs)

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
