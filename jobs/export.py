"""What leaves a run: a planner as a model folder, and its data in the published formats."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeVar

from jobs.rounds import final_version
from jobs.run import Run
from jobs.tasks import load_tasks
from mpo_core.errors import InputError
from mpo_core.formats import (
    Published,
    published_demonstration,
    published_pair,
    published_plans,
    write_rows,
)
from mpo_core.prompts import REFERENCE_NAMES
from mpo_core.types import Demonstration, Plan, PreferencePair, Record

R = TypeVar("R", bound=Record)


def export_planner(run: Run, version: str, out: Path, *, adapter: bool) -> Path:
    """Write a trained planner as a Hugging Face folder, an adapter merged into its base.

    Args:
        version: `sft`, `rft` or `mpo`, which is the planner that the rounds ended with.
        adapter: write the LoRA adapter as it is.

    Raises:
        InputError: the version is not trained, or `out` holds something.
    """
    from mpo_core.training.export import merged

    version = final_version(run) if version == "mpo" else version
    folder = run.trained_folder(version)
    if not run.training_summary(version):
        raise InputError(f"{folder}: not trained yet; run `mpo run` with the same config first")
    if adapter and not (folder / "adapter_config.json").is_file():
        raise InputError(f"{folder}: holds whole weights, not an adapter; leave --adapter out")
    _require_empty(out)
    whole = folder if adapter else merged(run.backend.source(run.config.planner.model), folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    shutil.copytree(whole, partial, dirs_exist_ok=True)
    partial.chmod(0o755)
    partial.rename(out)
    return out


def push(folder: Path, repository: str) -> str:
    """Upload a model folder to a private repository of the Hugging Face hub; returns its address.

    The token is HF_TOKEN, or the one that `hf auth login` has stored.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    hub = HfApi(token=os.environ.get("HF_TOKEN"))
    try:
        hub.create_repo(repository, private=True, exist_ok=True)
        return str(hub.upload_folder(repo_id=repository, folder_path=folder))
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        raise InputError(f"--push {repository}: {error}; the folder is at {folder}") from error


def export_data(run: Run, out: Path) -> list[Path]:
    """Write what the run holds in the formats and under the names of the published data.

    Raises:
        InputError: `out` holds something, or the run has none of it yet.
    """
    _require_empty(out)
    files = []
    for env in run.suites:
        name = f"{REFERENCE_NAMES.get(env, env)}_metaplan"

        def of_env(path: str, kind: type[R], env: str = env) -> list[R]:
            return [r for r in run.records(path, kind) if r.task_id.split("/")[0] == env]

        shown = of_env("demonstrations/sft.jsonl", Demonstration)
        pairs = of_env("pairs/pairs.jsonl", PreferencePair)
        files += _write(out / f"{name}_sft.json", map(published_demonstration, shown))
        files += _write(out / f"{name}_preference_pairs.json", map(published_pair, pairs))
        for path in sorted((run.dir / "plans").glob("*.jsonl")):
            version, split = path.stem.rsplit("-", 1)
            if version == "seeds" or split == "validation":
                continue
            kind = "train_sampled" if split == "train" else split
            plans = of_env(f"plans/{path.name}", Plan)
            rows = published_plans(plans, load_tasks(run, split), run.published_id)
            files += _write(out / f"{name}_{kind}_{version}.jsonl", rows)
    if not files:
        raise InputError(f"{run.dir}: nothing to export yet; run `mpo run` with the same config")
    return files


def _write(path: Path, rows: Iterable[Published]) -> list[Path]:
    rows = list(rows)
    if not rows:
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, rows)
    return [path]


def _require_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: exists already; choose another folder")
