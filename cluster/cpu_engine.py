"""A vLLM engine on a CPU: its model in the engine's own process, not in a worker's beside it.

`ray.serve.llm` starts a worker for every engine. To a model that computes for milliseconds, two
processes that hand every step to each other, and spin while they wait, cost more than the model.
Ray overrides vLLM's choice of executor without a setting for it, so the place where the engine
starts is borrowed (`tests/versions/borrowed.py` knows it); needless when Ray's `engine_kwargs`
take a `distributed_executor_backend` for CPUs.
"""

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

from cluster.executor import OneProcessExecutor


class OneProcessEngine(VLLMEngine):
    """An engine whose model needs one process."""

    def _start_async_llm_engine(self, vllm_engine_args, vllm_engine_config, placement_group):
        parallel = vllm_engine_config.parallel_config
        if parallel.world_size == 1:
            # vLLM takes `mp` for a CPU, whose workers it binds to cores: here they are not bound.
            parallel.distributed_executor_backend = OneProcessExecutor
        return super()._start_async_llm_engine(
            vllm_engine_args, vllm_engine_config, placement_group
        )
