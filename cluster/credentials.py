"""Names of the environment variables that hold the keys and logins of what a config talks to."""

import re
from collections.abc import Iterator

from mpo_core.config import Config, EndpointModelConfig

# How OpenAI's client and MLflow's know who asks, beside a model's own key.
OPENAI_LOGIN = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
MLFLOW_LOGIN = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_INSECURE_TLS",
)
HUB_LOGIN = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
# Of a URL, who asks, and by which password.
LOGIN = re.compile(r"//[^/@\s'\"]+@")


def credentials(config: Config) -> list[str]:
    """All that a run of the config may need, set or not."""
    keys = model_keys(config)
    names = [*HUB_LOGIN, *keys, *(OPENAI_LOGIN if keys else ())]
    return [*names, *(MLFLOW_LOGIN if config.tracking.enabled else ())]


def model_keys(config: Config) -> dict[str, str]:
    """Variable -> the setting that names it, for the key of every model at an endpoint."""
    return {
        model.api_key_env: f"models.{name}.api_key_env"
        for name, model in config.models.items()
        if isinstance(model, EndpointModelConfig)
    }


def passwords(config: Config) -> Iterator[str]:
    """The settings whose URLs hold a password."""
    urls: dict[str, str | None] = {"tracking.uri": config.tracking.uri}
    for name, model in config.models.items():
        if isinstance(model, EndpointModelConfig):
            urls[f"models.{name}.endpoint"] = model.endpoint
    for key, url in urls.items():
        found = LOGIN.search(url or "")
        if found and ":" in found[0]:
            yield key


def without_passwords(text: str) -> str:
    """A text with the logins in its URLs masked."""
    return LOGIN.sub("//***@", text)
