"""Names of the environment variables that hold the keys and logins of what a config talks to."""

from mpo_core.config import Config

# How OpenAI's client and MLflow's know who asks, beside a model's own key.
OPENAI_LOGIN = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
MLFLOW_LOGIN = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
HUB_LOGIN = ("HF_TOKEN",)


def credentials(config: Config) -> list[str]:
    """All that a run of the config may need, set or not."""
    endpoints = any(model.endpoint for model in config.models.values())
    names = [*HUB_LOGIN, *model_keys(config), *(OPENAI_LOGIN if endpoints else ())]
    return [*names, *(MLFLOW_LOGIN if config.tracking.enabled else ())]


def model_keys(config: Config) -> dict[str, str]:
    """Variable -> the setting that names it, for the key of every model at an endpoint."""
    return {
        model.api_key_env: f"models.{name}.api_key_env"
        for name, model in config.models.items()
        if model.endpoint
    }
