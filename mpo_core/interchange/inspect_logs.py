"""Logs of inspect_ai, a file `.eval` for each stage, arm and agent: `inspect view` opens them.

They are written without inspect_ai. Its own writer takes a log with all samples in memory; a file
is a zip of JSON documents, a sample each, which the standard library writes as they come. The tests
read them by the package itself.

A task is a sample, an attempt at it an epoch. An episode whose plan several planners wrote is in
the log of each, as the evaluation counts it.
"""

import zipfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from tempfile import NamedTemporaryFile
from typing import Any

from mpo_core.interchange.played import (
    Exchange,
    Played,
    as_json,
    conversation,
    suite_version,
    writable,
)
from mpo_core.types import Message, content_hash

LOG_VERSION = 2
SHOWN = 1000
"""Characters of a text in the list of samples, as inspect_ai keeps there."""
ROLES = ("system", "user", "assistant")


def sample(played: Played, epoch: int) -> dict[str, Any]:
    """An episode as a sample: its conversation as it was, with what the suite knows of a turn in
    the `metadata` of its message, and the scores `reward` and `success`.

    Args:
        epoch: which attempt at the task it is, from 1.
    """
    one = played.episode
    opening, exchanges = conversation(one)
    messages = [_message(m, k, _source(played, m)) for k, m in enumerate(opening)]
    for number, exchange in enumerate(exchanges, start=1):
        messages.append(_reply(played, number, exchange))
        messages += [
            _message(m, f"{number}-{k}", source=None) for k, m in enumerate(exchange.shown)
        ]
    found = {
        "id": _id(played),
        "epoch": epoch,
        "input": played.task or (opening[-1].get("content", "") if opening else ""),
        "target": "",
        "messages": messages,
        "output": _output(played, exchanges),
        "scores": _scores(played),
        "metadata": {**played.about, "key": one.key},
        "model_usage": {one.model: _usage(played)} if played.by_model else {},
        "total_time": one.seconds,
        "working_time": one.seconds,
        "uuid": content_hash(writable(played.run), played.stage, writable(one.key)),
        "turn_count": played.steps,
    }
    if one.end not in ("done", "failed"):
        found["limit"] = {"type": "custom", "limit": one.steps, "reason": one.end}
    return found


def summary(of: dict[str, Any]) -> dict[str, Any]:
    """A sample's row in the list of a log."""
    kept = ("id", "epoch", "target", "scores", "model_usage", "total_time", "working_time", "uuid")
    metadata = {
        name: value
        for name, value in of["metadata"].items()
        if not isinstance(value, str) or len(value) < SHOWN
    }
    return {
        **{name: of[name] for name in kept},
        "input": of["input"][:SHOWN],
        "metadata": metadata,
        "completed": True,
        "message_count": len(of["messages"]),
        "turn_count": of["turn_count"],
        "limit": of["limit"]["type"] if "limit" in of else None,
    }


class EvalFile:
    """A log that is being written. Use as a context manager; its head is written at the end."""

    def __init__(self, path: Path, run: str, stage: str, arm: str, model: str) -> None:
        self._run, self._stage, self._arm, self._model = run, stage, arm, model
        self._until = 0.0
        self._rewards: dict[str, list[float]] = defaultdict(list)
        self._wins: dict[str, list[float]] = defaultdict(list)
        self._held = ExitStack()
        self._zip = self._held.enter_context(
            zipfile.ZipFile(path, "w", compression=zipfile.ZIP_DEFLATED)
        )
        # The list of samples comes after them, and grows with them.
        self._rows = self._held.enter_context(NamedTemporaryFile(dir=path.parent))  # noqa: SIM115 - held

    def add(self, played: Played) -> None:
        """Write one more episode, the next epoch of its task."""
        name = _id(played)
        epoch = len(self._rewards[name]) + 1
        one = sample(played, epoch)
        self._zip.writestr(f"samples/{name}_epoch_{epoch}.json", as_json(one))
        self._rows.write(b"," if self._rows.tell() else b"[")
        self._rows.write(as_json(summary(one)).encode())
        self._rewards[name].append(played.episode.reward)
        self._wins[name].append(float(played.episode.success))
        self._until = max(self._until, played.until)

    def __enter__(self) -> "EvalFile":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        with self._held:
            if kind is None:
                self._rows.write(b"]")
                self._rows.flush()
                self._zip.write(self._rows.name, "summaries.json")
                self._zip.writestr("header.json", as_json(self._header()))

    def _header(self) -> dict[str, Any]:
        moment = datetime.fromtimestamp(self._until, UTC).isoformat()
        n = sum(map(len, self._rewards.values()))
        about = {"run": self._run, "stage": self._stage, "arm": self._arm}
        identity = content_hash(writable([*about.values(), self._model]))
        return {
            "version": LOG_VERSION,
            "status": "success",
            "eval": {
                "eval_id": identity,
                "run_id": content_hash(writable(self._run)),
                "created": moment,
                "task": f"{self._stage} {self._arm}",
                "task_id": identity,
                "task_version": 0,
                "dataset": {"name": self._run, "samples": len(self._rewards)},
                "model": self._model,
                "config": {"epochs": max(map(len, self._rewards.values()))},
                "packages": {"mpo-suite": suite_version()},
                "metadata": about,
            },
            "plan": {"name": "mpo", "steps": []},
            "results": {
                "total_samples": n,
                "completed_samples": n,
                "scores": [
                    _result("reward", "mean", self._rewards),
                    _result("success", "accuracy", self._wins),
                ],
            },
            "stats": {"started_at": moment, "completed_at": moment},
        }


class EvalFiles:
    """The logs of a folder, each begun with its first episode."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[tuple[str, str, str], EvalFile] = {}
        self._held = ExitStack()

    def add(self, played: Played) -> None:
        """Write an episode into the log of each of its arms."""
        for arm in played.arm.split(", "):
            key = (played.stage, arm, played.episode.model)
            if key not in self._open:
                path = self._folder / self._name(played.stage, arm)
                log = EvalFile(path, played.run, *key)
                self._open[key] = self._held.enter_context(log)
            self._open[key].add(played)

    def __enter__(self) -> "EvalFiles":
        return self

    def __exit__(self, *error: Any) -> None:
        self._held.__exit__(*error)

    def _name(self, stage: str, arm: str) -> str:
        """`evaluation-mpo.eval`; of further agents `evaluation-mpo-2.eval`."""
        words = "".join(c if c.isascii() and c.isalnum() else "-" for c in f"{stage}-{arm}")[:80]
        taken = {file.name for file in self._folder.iterdir()}
        names = (f"{words}{f'-{n}' if n > 1 else ''}.eval" for n in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)


def write(episodes: Iterable[Played], folder: Path) -> None:
    """Write the episodes' logs into an empty folder."""
    with EvalFiles(folder) as files:
        for played in episodes:
            files.add(played)


def _id(played: Played) -> str:
    """A task's id as the name of a zip's file can hold it, which ends at a NUL."""
    return str(writable(played.episode.task_id)).replace("\0", "\\0")


def _message(message: Message, number: object, source: str | None = "input") -> dict[str, Any]:
    role = message.get("role", "user")
    found: dict[str, Any] = {
        "id": f"m{number}",
        "role": role if role in ROLES else "user",
        "content": message.get("content", ""),
    }
    if source:
        found["source"] = source
    if role not in ROLES:
        found["metadata"] = {"role": role}
    return found


def _source(played: Played, message: Message) -> str | None:
    """Where a message before the first turn comes from: of a caller's agent, what was said may be
    its own."""
    said = played.conversation is not None and message.get("role") == "assistant"
    return None if said else "input"


def _reply(played: Played, number: int, exchange: Exchange) -> dict[str, Any]:
    turn = exchange.turn
    known: dict[str, Any] = {
        "action": turn.action,
        "score": turn.score,
        "understood": turn.understood,
        "fault": turn.fault or None,
        "reply": turn.reply if turn.reply != exchange.said else None,
    }
    if not exchange.shown or exchange.observation_in is not None:
        # No message that follows is the observation and nothing else.
        known["observation"] = turn.observation
    return {
        "id": f"r{number}",
        "role": "assistant",
        "source": "generate",
        "model": played.episode.model,
        "content": _content(exchange),
        "metadata": {name: value for name, value in known.items() if value is not None},
    }


def _content(exchange: Exchange) -> Any:
    if not exchange.turn.reasoning:
        return exchange.said
    thought = {"type": "reasoning", "reasoning": exchange.turn.reasoning}
    return [thought, {"type": "text", "text": exchange.said}]


def _output(played: Played, exchanges: list[Exchange]) -> dict[str, Any]:
    found: dict[str, Any] = {"model": played.episode.model, "choices": []}
    if exchanges:
        last = exchanges[-1]
        message = _reply(played, len(exchanges), last) | {"metadata": None}
        reason = "max_tokens" if last.turn.fault == "cut" else "stop"
        found |= {"choices": [{"message": message, "stop_reason": reason}]}
        found |= {"completion": last.said}
    return found | ({"usage": _usage(played)} if played.by_model else {})


def _usage(played: Played) -> dict[str, int]:
    asked, said = played.episode.prompt_tokens, played.episode.completion_tokens
    return {"input_tokens": asked, "output_tokens": said, "total_tokens": asked + said}


def _scores(played: Played) -> dict[str, Any]:
    one = played.episode
    return {
        "reward": {"value": one.reward, "answer": one.end},
        "success": {"value": "C" if one.success else "I", "answer": one.end},
    }


def _result(name: str, metric: str, by_task: dict[str, list[float]]) -> dict[str, Any]:
    """The mean over tasks of their attempts' means, and its standard error."""
    means = [fmean(values) for values in by_task.values()]
    error = stdev(means) / sqrt(len(means)) if len(means) > 1 else 0.0
    metrics = {metric: fmean(means), "stderr": error}
    n = sum(map(len, by_task.values()))
    return {
        "name": name,
        "scorer": name,
        "reducer": "mean",
        "scored_samples": n,
        "unscored_samples": 0,
        "metrics": {key: {"name": key, "value": value} for key, value in metrics.items()},
    }
