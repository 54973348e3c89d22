"""Models of the Hugging Face hub: whether one is at hand, before anything waits for it."""

import os

from mpo_core.builtin_models import HUB_ID
from mpo_core.checks import Check
from mpo_core.paths import at_home

DOWNLOAD = "download it where the hub can be reached: hf download"
ASKED_S = 5.0
"""That the hub has to answer."""


def hub_check(name: str, source: str) -> Check | None:
    """What is known of a model's weights where they are the hub's; None where they are a folder's,
    or come with the suite.

    A fault only where the hub itself says so: other machines may have what this one lacks.

    Args:
        name: of the model in the config.
        source: its source, as in the config.
    """
    if at_home(source).exists() or not HUB_ID.fullmatch(source):
        return None
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(source, "config.json"), str):
        return Check(f"model {name}", "ok", f"{source}, in the hub's cache")
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false", "no", "off"):
        return Check(
            f"model {name}",
            "warn",
            f"{source} is not in this machine's cache, and HF_HUB_OFFLINE forbids its download",
            f"unset HF_HUB_OFFLINE, or {DOWNLOAD} {source}",
        )
    return _asked(name, source)


def _asked(name: str, source: str) -> Check:
    """What the hub says of a model."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    checked = f"model {name}"
    try:
        HfApi().model_info(source, timeout=ASKED_S)
    except GatedRepoError:
        remedy = f"accept its terms at https://huggingface.co/{source} and set HF_TOKEN"
        return Check(checked, "fault", f"{source}: the hub asks for its terms first", remedy)
    except RepositoryNotFoundError:
        found = f"{source}: the hub has no such model, or it is a private one"
        return Check(checked, "fault", found, f"mend models.{name}.source, or set HF_TOKEN")
    except Exception as error:  # Whatever keeps a machine from the hub: proxies, DNS, time.
        why = " ".join(str(error).split())[:120] or type(error).__name__
        found = f"{source} is not in this machine's cache, and the hub does not answer ({why})"
        return Check(checked, "warn", found, f"{DOWNLOAD} {source}")
    return Check(checked, "ok", f"{source}, will be downloaded from the hub by the first run")
