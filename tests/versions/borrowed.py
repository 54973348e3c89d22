"""What the suite relies on inside the libraries under it, beyond what they promise.

TextWorld and ScienceWorld are not among them: each is pinned to one release, and tests of their own
hold what is made of them against the stock environments.
"""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PRIVATE = ("ray._", "ray.core", "_internal", "._private")
"""Marks of Ray's private modules in their names."""
BORROWERS = (
    "cluster/cpu_engine.py",
    "cluster/ray_llm.py",
    "cluster/ray_node.py",
    "cluster/ray_train.py",
)
"""The files that may import them."""

CALLED = {
    "cluster/ray_node.py": {
        "ray._private.services:canonicalize_bootstrap_address_or_die": "addr",
        "ray._private.services:find_node_ids": "",
        "ray._private.ray_constants:ENABLE_RAY_CLUSTER": None,
        "ray._private.ray_constants:ENABLE_RAY_CLUSTERS_ENV_VAR": None,
        "ray._private.ray_constants:GLOBAL_GRPC_OPTIONS": None,
        "ray._private.ray_constants:DASHBOARD_ADDRESS": None,
        "ray._private.ray_constants:KV_NAMESPACE_DASHBOARD": None,
        "ray._private.grpc_utils:init_grpc_channel": "address options",
        "ray._private.accelerators:NvidiaGPUAcceleratorManager."
        "get_current_node_num_accelerators": "",
        "ray._private.authentication.http_token_authentication:"
        "get_auth_headers_if_auth_enabled": "user_headers",
        "ray._private.authentication.http_token_authentication:"
        "format_authentication_http_error": "status body",
        "ray._raylet:AuthenticationTokenLoader.instance": None,
        "ray._raylet:AuthenticationTokenLoader.has_token": None,
        "ray._raylet:AuthenticationTokenLoader.reset_cache": None,
        "ray._raylet:InnerGcsClient.internal_kv_get": None,
    },
    "cluster/ray_train.py": {
        "ray.train.torch:TorchTrainer._create_default_callbacks": "self",
        "ray.train.torch:TorchTrainer._register_sigint_handler": "self controller",
    },
    "cluster/ray_llm.py": {
        "ray.llm._internal.common.models:global_id_manager.next": "",
        "ray.llm._internal.common.callbacks.base:CallbackBase.on_before_node_init": "self",
        "ray.llm._internal.serve.core.configs.llm_config:DiskMultiplexConfig": (
            "model_id max_total_tokens local_path lora_assigned_int_id"
        ),
        "ray.llm._internal.serve.core.ingress.utils:_sanitize_chat_completion_request": "request",
        "ray.serve._private.http_util:session_id_from_headers": "headers",
    },
    "cluster/engine.py": {
        "ray.serve.llm.deployment:LLMServer.__init__": (
            "self llm_config engine_cls model_downloader"
        ),
        "ray.serve.llm.deployment:LLMServer._maybe_resolve_lora_from_multiplex": "self",
        "ray.serve.llm.deployment:LLMServer._start_engine": "self",
        "ray.llm._internal.serve.utils.lora_serve_utils:LoraModelLoader.load_model_from_config": (
            "self lora_model_id llm_config"
        ),
    },
    "cluster/cpu_engine.py": {
        "ray.llm._internal.serve.engines.vllm.vllm_engine:VLLMEngine._start_async_llm_engine": (
            "self vllm_engine_args vllm_engine_config placement_group"
        ),
    },
    "cluster/ingress.py": {
        "ray.serve.llm.ingress:OpenAiIngress.__init__": "self llm_deployments model_cards",
        "ray.serve.llm.ingress:OpenAiIngress._process_llm_request": (
            "self body call_method raw_request"
        ),
    },
    "cluster/executor.py": {
        "vllm.v1.executor.uniproc_executor:UniProcExecutor._init_executor": "self",
    },
    "cluster/cpu_lora.py": {
        "vllm.platforms.interface:Platform.get_punica_wrapper": "",
        "vllm.lora.punica_wrapper.punica_cpu:PunicaWrapperCPU.token_lora_indices": None,
        "vllm.lora.punica_wrapper.punica_cpu:PunicaWrapperCPU.update_metadata": None,
        "vllm.lora.punica_wrapper.punica_cpu:PunicaWrapperCPU._apply_shrink": (
            "self y x w_t_all scale"
        ),
        "vllm.lora.punica_wrapper.punica_cpu:PunicaWrapperCPU._apply_expand": (
            "self y x w_t_all y_offset y_slice_size add_inputs"
        ),
    },
    "mpo_core/chat_templates.py": {
        "transformers.utils.chat_template_utils:render_jinja_template": (
            "conversations chat_template add_generation_prompt continue_final_message"
        ),
    },
    "mpo_core/tracking/delivery.py": {
        "mlflow.tracing.client:TracingClient.start_trace": "self trace_info",
        "mlflow.tracing.client:TracingClient.log_spans": "self location spans",
    },
    "mpo_core/tracking/traces.py": {
        "mlflow.entities:Span": "otel_span",
    },
    "mpo_core/tracking/system.py": {
        "mlflow.system_metrics.metrics.cpu_monitor:CPUMonitor.collect_metrics": "self",
        "mlflow.system_metrics.metrics.disk_monitor:DiskMonitor.aggregate_metrics": "self",
        "mlflow.system_metrics.metrics.network_monitor:NetworkMonitor.clear_metrics": "self",
        "mlflow.system_metrics.metrics.gpu_monitor:GPUMonitor": "",
    },
    "mpo_core/training/engine.py": {
        "deepspeed.ops:__compatible_ops__": None,
        "deepspeed:DeepSpeedEngine.zero_optimization_stage": "self",
    },
    "mpo_core/training/trainer.py": {
        "trl.trainer.utils:disable_dropout_in_model": "model",
        "transformers:Trainer._save": "self output_dir",
        "transformers:Trainer.save_model": "self output_dir _internal_call",
    },
    "mpo_core/training/dpo.py": {
        "trl:DPOTrainer._prepare_dataset": "self dataset processing_class args dataset_name",
    },
    "mpo_core/training/pg.py": {
        "trl:DPOTrainer._set_signature_columns_if_needed": "self",
        "trl:DPOTrainer.compute_loss": "self model inputs return_outputs num_items_in_batch",
        "trl:DPOTrainer.compute_ref_log_probs": "self model inputs",
    },
}
"""File -> what it calls or overrides, as `module:attribute.attribute` -> its parameters by name;
None where it is only to be there, such as what is compiled and tells no parameters."""

HELD = {
    "cluster/engine.py": {
        "ray.serve.llm.deployment:LLMServer": "engine _llm_config",
        "ray.llm._internal.common.callbacks.base:CallbackBase": "ctx",
        "ray.llm._internal.common.callbacks.base:CallbackCtx": "run_init_node",
    },
    "cluster/ingress.py": {
        "ray.serve.llm.ingress:OpenAiIngress": "_default_serve_handles",
        "ray.llm._internal.serve.core.configs.openai_api_models:OpenAIHTTPException": (
            "message status_code"
        ),
    },
    "cluster/executor.py": {
        "vllm.v1.executor.uniproc_executor:UniProcExecutor": "vllm_config",
    },
    "mpo_core/training/engine.py": {
        "transformers.integrations.deepspeed:HfTrainerDeepSpeedConfig": "mismatches",
        "transformers:TrainingArguments": "hf_deepspeed_config",
    },
    "mpo_core/training/pg.py": {
        "trl:DPOTrainer": "_signature_columns _metrics _total_train_tokens ref_model accelerator",
    },
}
"""File -> a class, and attributes of its instances that the file reads or sets."""


def borrowed_names(file: str) -> Iterator[str]:
    """What a file imports from Ray's private modules, each as `module:name`."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and _is_private(node.module or ""):
            yield from (f"{node.module}:{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (f"{alias.name}:" for alias in node.names if _is_private(alias.name))


def _is_private(module: str) -> bool:
    return module.startswith("ray.") and any(mark in module for mark in PRIVATE)


class Moved(Exception):
    """Something is not where, or as, the suite takes it to be."""


def moved() -> Iterator[str]:
    """What has moved, a line each."""
    borrowed = ((file, _find, name, "") for file in BORROWERS for name in borrowed_names(file))
    called = ((file, call, *row) for file, rows in CALLED.items() for row in rows.items())
    held = ((file, hold, *row) for file, rows in HELD.items() for row in rows.items())
    for file, check, name, wanted in (*borrowed, *called, *held):
        try:
            check(name, wanted)
        except Moved as fault:
            yield f"{name}: {fault}; {file} stands on it, and says what for"


def call(name: str, takes: str | None) -> None:
    """Raises Moved where something is not called by these parameters."""
    found = _find(name)
    if takes is None:
        return
    try:
        inspect.signature(found).bind(**dict.fromkeys(takes.split()))
    except TypeError as error:
        raise Moved(f"called by ({', '.join(takes.split())}): {error}") from error


def hold(name: str, wanted: str) -> None:
    """Raises Moved where no method or field of a class knows an attribute."""
    known = {attribute for cls in inspect.getmro(_find(name)) for attribute in _attributes(cls)}
    lacking = [attribute for attribute in wanted.split() if attribute not in known]
    if lacking:
        raise Moved(f"its instances have no {', '.join(lacking)}")


def _find(name: str, _: str = "") -> Any:
    """What `module:attribute.attribute` names. Raises Moved where it is not there."""
    module, _, path = name.partition(":")
    try:
        here = importlib.import_module(module)
    except ImportError as error:
        raise Moved(str(error)) from error
    for attribute in filter(None, path.split(".")):
        if not hasattr(here, attribute):
            raise Moved(f"{getattr(here, '__name__', here)} has no {attribute}")
        here = getattr(here, attribute)
    return here


def _attributes(cls: type) -> Iterator[str]:
    yield from vars(cls)
    yield from vars(cls).get("__annotations__", {})
    for member in vars(cls).values():
        yield from getattr(getattr(member, "__code__", None), "co_names", ())
