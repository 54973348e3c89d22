"""What leaves a run: a planner as a model folder, and its data in the published formats."""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from jobs.rounds import final_version, rounds
from jobs.run import Round, Run
from jobs.tasks import SPLITS, load_tasks
from mpo_core.conversations import PreferenceExample, SftExample
from mpo_core.errors import InputError
from mpo_core.files import whole_folder
from mpo_core.formats import (
    Published,
    TaskRow,
    published_demonstration,
    published_pair,
    published_plans,
    read_rows,
    write_rows,
)
from mpo_core.proxy.planners import write_prompts_of
from mpo_core.proxy.records import ENVIRONMENT
from mpo_core.run_folder import in_round
from mpo_core.types import Demonstration, Plan, PreferencePair

R = TypeVar("R", Demonstration, PreferencePair, Plan)


def export_planner(run: Run, version: str, out: Path, *, adapter: bool) -> Path:
    """Write a trained planner as a Hugging Face folder, an adapter merged into its base; beside the
    weights, by whose prompt it is to be asked.

    Args:
        version: `sft`, `rft`, `pg` or `mpo`, which is the planner that the rounds ended with.
        adapter: write the LoRA adapter as it is.

    Raises:
        InputError: the version is not trained, or `out` holds something.
    """
    from mpo_core.training.export import merged

    version = final_version(run) if version == "mpo" else version
    folder = run.trainee(version).folder
    if not run.trainee(version).summary():
        raise InputError(f"{folder}: not trained yet; run `mpo run` with the same config first")
    if adapter and not (folder / "adapter_config.json").is_file():
        raise InputError(f"{folder}: holds whole weights, not an adapter; leave --adapter out")
    _require_empty(out)
    whole = folder if adapter else merged(run.backend.source(run.config.planner.model), folder)
    with whole_folder(out) as partial:
        shutil.copytree(whole, partial, dirs_exist_ok=True)
        if run.config.asked_by:
            write_prompts_of(partial, run.config.asked_by)
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


def export_data(run: Run, out: Path, *, reference_names: bool = False) -> list[Path]:
    """Write what the run holds in the formats of the published data, the text as it was trained.

    Args:
        reference_names: name the files, and lay them out in folders, as the paper's repository
            does: its scripts read them where `out` is copied over a checkout. Otherwise they are
            named as the published data, and after the planner's version and the split.

    Raises:
        InputError: `out` holds something, or the run has none of it yet.
    """
    _require_empty(out)
    names = _reference_name if reference_names else _name
    files = _given(run, out, names)
    for env in run.suites or [ENVIRONMENT]:

        def of_env(path: Path, kind: type[R], env: str = env) -> list[R]:
            records = run.records(path, kind)
            return [r for r in records if r.task_id.split("/")[0] == env]

        shown = of_env(run.files.demonstrations("sft"), Demonstration)
        files += _write(out / names(run, env, "sft"), map(published_demonstration, shown))
        for number in range(1, max(run.config.rounds, len(rounds(run))) + 1):
            pairs = of_env(run.files.pairs(number), PreferencePair)
            path = out / names(run, env, "preference_pairs")
            path = path.with_name(in_round(path.name, number))
            files += _write(path, map(published_pair, pairs))
        for version, last, path in run.files.planners_plans():
            split = next((split for split in SPLITS if split == last), None)
            if split is None:
                continue
            tasks = load_tasks(run, split)
            rows = published_plans(of_env(path, Plan), tasks, run.published_id)
            files += _write(out / names(run, env, split, version), rows)
        if reference_names and run.files.tasks("train").is_file():
            files += _write(out / names(run, env, "tasks"), _task_rows(run, env))
    if not files:
        raise InputError(f"{run.dir}: nothing to export yet; run `mpo run` with the same config")
    return files


def _name(run: Run, env: str | None, what: str, version: str = "") -> Path:
    """A file of the published data, or one named like them.

    Args:
        env: None for rows of no known environment.
        what: `sft`, `preference_pairs` or, for plans, a split.
        version: the planner that wrote the plans.
    """
    name = f"{_called(run, env)}_metaplan" if env else "metaplan"
    if not version:
        return Path(f"{name}_{what}.json")
    return Path(f"{name}_{'train_sampled' if what == 'train' else what}_{version}.jsonl")


def _reference_name(run: Run, env: str | None, what: str, version: str = "") -> Path:
    """The same file as the paper's repository names it; `what` may be `tasks`, too."""
    if not version and what != "tasks":
        return Path("samples") / _name(run, env, what)
    assert env is not None  # Rows of none are trained on, and neither plans nor tasks.
    env = _called(run, env)
    if what == "tasks":
        return Path("data") / env / f"{env}_train_tasks.jsonl"
    if what == "train":
        first = version == Round.of(run.config, 1).start
        name = f"{env}_metaplan_train_sampled"
        return Path("samples") / (f"{name}.jsonl" if first else f"{name}_{version}.jsonl")
    # `mpo` is the planner that the rounds ended with; the first round's is `mpo-1` beside a later.
    version = {"mpo": "mpo-1", final_version(run): "mpo"}.get(version, version)
    split = {"seen": "dev", "unseen": "test"}.get(what, what)
    return Path("data") / env / "metaplan" / f"metaplan_{split}_{version}.jsonl"


def _called(run: Run, env: str) -> str:
    """What the published data calls an environment."""
    return run.suites[env].reference_name or env if env in run.suites else env


def _task_rows(run: Run, env: str) -> list[TaskRow]:
    tasks = [task for task in load_tasks(run, "train") if task.env == env]
    return [TaskRow(id=run.published_id(task), task=task.description) for task in tasks]


def _given(run: Run, out: Path, names: Callable[..., Path]) -> list[Path]:
    """Rows that the run was given to train on, which name no environment."""
    files = []
    if (path := run.files.given("sft")).is_file():
        shown = map(published_demonstration, read_rows(path, SftExample))
        files += _write(out / names(run, None, "sft"), shown)
    if (path := run.files.given("dpo")).is_file():
        pairs = map(published_pair, read_rows(path, PreferenceExample))
        files += _write(out / names(run, None, "preference_pairs"), pairs)
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
