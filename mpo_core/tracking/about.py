"""Where a run comes from: its command, the suite's commit, who started it, and where."""

import getpass
import os
import shlex
import subprocess
import sys
from pathlib import Path

from mpo_core.config import Config
from mpo_core.overrides import flat
from mpo_core.tracking.faults import HIDDEN, hidden

SUITE = Path(__file__).parents[2]


def source_tags() -> dict[str, str]:
    """MLflow's tags of a run's source and user, and the suite's of its place."""
    tags = {
        "mlflow.source.type": "LOCAL" if place() == "local" else "JOB",
        "mlflow.source.name": _source(),
        "mpo.command": command(),
        "mlflow.user": _user(),
        "mpo.place": place(),
    }
    if commit := _commit():
        tags["mlflow.source.git.commit"] = commit
    return tags


def params_of(config: Config) -> dict[str, str]:
    """A run's settings by dotted key, without what may be secret in addresses, and without headers,
    which may hold keys."""
    return {
        key: hidden(str(value))
        for key, value in flat(config.model_dump(mode="json")).items()
        if "extra_headers" not in key.split(".")
    }


def command() -> str:
    """As it was typed, without headers and what may be secret in addresses."""
    module = _module()
    started = ["python", "-m", module] if module else [Path(sys.argv[0]).name]
    return shlex.join([*started, *map(_shown, sys.argv[1:])])


def _shown(word: str) -> str:
    key, _, _ = word.partition("=")
    return f"{key}={HIDDEN}" if "extra_headers" in word else hidden(word)


def _source() -> str:
    """The command without its settings and paths: MLflow shows what stands after the last slash."""
    words = [word for word in sys.argv[1:] if "=" not in word and not word.startswith("-")]
    started = _module() or Path(sys.argv[0]).name
    return " ".join([started, *(Path(word).name for word in words)])


def _module() -> str:
    """What `python -m` was given; empty where it started something else."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec else ""


def place() -> str:
    """`slurm`, `k8s`, `ray` or `local`, by what the launchers leave in the environment."""
    if "SLURM_JOB_ID" in os.environ:
        return "slurm"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "k8s"
    return "ray" if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else "local"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A user id without a name, as in containers.
        return str(os.getuid())


def _commit() -> str:
    """Of the checkout that this code lies in; empty where it lies in none."""
    if not (SUITE / ".git").exists():
        return ""
    try:
        asked = subprocess.run(
            ["git", "-C", str(SUITE), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
