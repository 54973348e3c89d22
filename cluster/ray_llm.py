"""What serving needs of `ray.serve.llm` that its public interface does not offer.

Names of `ray.llm._internal` and `ray.serve._private`, which any release of Ray may move, come from
here: `tests/versions/borrowed.py` names what has been, also of the methods beginning with an
underscore by which `engine.AdapterServer` and `ingress.Ingress` extend public classes. The engine's
class is borrowed by `cpu_engine`, a module of its own, as its import takes seconds that only an
engine's process needs to spend.

- `DiskMultiplexConfig`, `next_adapter_number`: an adapter, as a server's `model_downloader` gives
  it. Needless when `lora_config` takes a folder for `dynamic_lora_loading_path`, not only the
  address of a cloud's storage.
- `CallbackBase`: what a `callback_class` derives from. `LLMConfig` takes such classes, and nothing
  public says how to write one.
- `OpenAIHTTPException`: what an ingress raises for a request that cannot be served.
- `read_through`: a chat request with its messages read and checked, where pydantic leaves iterators
  that cannot be sent. Needless, as the exception, when an ingress takes requests that are read.
- `session_id_from_headers`: the session that a replica is chosen by. Serve lets the header's name
  be set, and says nowhere public which one holds.
"""

from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.common.models import global_id_manager
from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.llm._internal.serve.core.configs.openai_api_models import OpenAIHTTPException
from ray.llm._internal.serve.core.ingress.utils import (
    _sanitize_chat_completion_request as read_through,
)
from ray.serve._private.http_util import session_id_from_headers

next_adapter_number = global_id_manager.next

__all__ = [
    "CallbackBase",
    "DiskMultiplexConfig",
    "OpenAIHTTPException",
    "next_adapter_number",
    "read_through",
    "session_id_from_headers",
]
