"""How an engine on a CPU runs its model: in its own process, for as long as its replica lives.

Imports vLLM alone: it is loaded in the engine's process.
"""

import os
import threading
import time

from vllm.v1.executor.uniproc_executor import UniProcExecutor


class OneProcessExecutor(UniProcExecutor):
    """The model in the engine's process, which ends when that of its replica has ended.

    vLLM's engines outlive a replica that is killed, and hold their memory.
    """

    def _init_executor(self) -> None:
        watch = threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True)
        watch.start()
        if self.vllm_config.lora_config and self.vllm_config.model_config.enforce_eager:
            from cluster.cpu_lora import use_grouped_adapters

            use_grouped_adapters()
        super()._init_executor()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
