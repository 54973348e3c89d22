"""A Hugging Face dataset: Parquet with a row an episode and a split for each stage, and its card.

`datasets.load_dataset(FOLDER)` loads it from the disk, `messages` are those of chat templates and
of TRL. Written by pyarrow, a few megabytes at a time.
"""

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mpo_core.files import write_text
from mpo_core.interchange.played import Played

AT_ONCE = 4 * 2**20
"""Characters of the rows that are written together."""
TEXT, COUNT, REAL = pa.string(), pa.int64(), pa.float64()
MESSAGE = pa.struct([("role", TEXT), ("content", TEXT)])
TURN = pa.struct(
    [
        ("reply", TEXT),
        ("action", TEXT),
        ("observation", TEXT),
        ("score", REAL),
        ("reasoning", TEXT),
        ("fault", TEXT),
        ("understood", pa.bool_()),
    ]
)
COLUMNS = {
    "key": (TEXT, "the episode's identity: a hash of task, plan, agent, protocol, repetition"),
    "messages": (pa.list_(MESSAGE), "the conversation as the agent was sent it, and its replies"),
    "task": (TEXT, "the instruction as the environment words it"),
    "plan": (TEXT, "the plan that the agent was given; null for none"),
    "reward": (REAL, "best score reached, 0 to 1"),
    "success": (pa.bool_(), "whether the task was solved"),
    "steps": (COUNT, "actions, those that could not be read among them; a caller's: its requests"),
    "arm": (
        TEXT,
        "whose plan: planners joined by `, `; `none`, `expert`, `given`; of a caller's "
        "conversation, the arm that it was drawn into: `off`, or a version such as `v1`",
    ),
    "conversation": (TEXT, "what its caller calls it; null for what the suite has played itself"),
    "why": (TEXT, "why a caller's conversation got no plan though one was due"),
    "stage": (TEXT, "of the run: expert, scoring, validation, evaluation, feedback"),
    "env": (TEXT, "environment"),
    "type": (TEXT, "the task's type"),
    "split": (TEXT, "the task's split in its environment: train, seen, unseen"),
    "model": (TEXT, "fingerprint of the agent's model; `expert` for the environment's solution"),
    "task_id": (TEXT, "the task's identity"),
    "plan_id": (TEXT, "the plan's identity: a hash of task and text"),
    "plan_mode": (TEXT, "where the agent reads the plan: query, observation, thought"),
    "repetition": (COUNT, "which attempt under the same plan, from 0"),
    "end": (TEXT, "done, failed, step_limit, invalid_limit, context"),
    "turns": (pa.list_(TURN), "reply, action read from it, observation, best score so far"),
    "prompt_tokens": (COUNT, "of all turns"),
    "completion_tokens": (COUNT, "of all turns"),
    "seconds": (REAL, "that it took; a caller's: from its beginning until its reward came"),
    "run": (TEXT, "the run's name"),
}
"""Name -> type and meaning."""
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in COLUMNS.items()])


def row(played: Played) -> dict[str, Any]:
    """An episode's values by column."""
    one = played.episode
    found = {
        **played.about,
        "key": one.key,
        "messages": [
            {"role": m.get("role", ""), "content": m.get("content", "")} for m in one.messages
        ],
        "turns": [turn.model_dump() for turn in one.turns],
    }
    return _utf8(found)


def write(episodes: Iterable[Played], folder: Path) -> None:
    """Write the dataset into an empty folder."""
    counts: Counter[str] = Counter()
    run = ""
    with ExitStack() as held:
        files: dict[str, _Rows] = {}
        for played in episodes:
            split = split_name(played.stage)
            if split not in files:
                files[split] = held.enter_context(_Rows(folder / "data" / f"{split}.parquet"))
            files[split].add(row(played), _size(played))
            counts[split] += 1
            run = played.run
    write_text(folder / "README.md", card(run, counts))


def split_name(stage: str) -> str:
    """A stage as the name of a split, which `datasets` wants of letters, digits and `_`."""
    return re.sub(r"\W+", "_", stage, flags=re.ASCII) or "_"


def card(run: str, counts: Counter[str]) -> str:
    """The dataset's card; its head says which file is which split."""
    name = "".join(c if c.isalnum() or c in " ._-" else "-" for c in run)
    files = "".join(f"  - split: {split}\n    path: data/{split}.parquet\n" for split in counts)
    rows = "".join(f"| `{split}` | {n} |\n" for split, n in counts.items())
    columns = "".join(f"| `{column}` | {means} |\n" for column, (_, means) in COLUMNS.items())
    return (
        f"---\npretty_name: Episodes of {name}\ntask_categories:\n- text-generation\n"
        "tags:\n- agent\n- trajectories\n- meta-plan-optimization\n"
        f"configs:\n- config_name: default\n  data_files:\n{files}---\n\n"
        f"# Episodes of {name}\n\n"
        "Episodes of LLM agents in text environments, under plans of a meta planner (Meta Plan "
        "Optimization) and without. A row is one attempt at a task.\n\n"
        f"| split | episodes |\n|---|---|\n{rows}\n"
        "A split is a stage of the run: `expert` the environments' own solutions, `scoring` the "
        "attempts by which plans were scored for training, `validation` those that chose among "
        "planners, `evaluation` held-out tasks, which nothing was trained on, `feedback` the "
        "conversations of callers' agents, by the rewards that these reported.\n\n"
        f"| column | |\n|---|---|\n{columns}"
    )


class _Rows:
    """A Parquet file that is being written, in groups of rows of some size."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self._file = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._size = 0

    def add(self, one: dict[str, Any], size: int) -> None:
        self._rows.append(one)
        self._size += size
        if self._size > AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._file.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows, self._size = [], 0

    def __enter__(self) -> "_Rows":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        with self._file:
            if kind is None and self._rows:
                self._flush()


def _size(played: Played) -> int:
    one = played.episode
    return sum(len(m.get("content", "")) for m in one.messages) + sum(
        len(turn.reply) + len(turn.observation) + len(turn.reasoning) for turn in one.turns
    )


def _utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _utf8(one) for key, one in value.items()}
    return [_utf8(one) for one in value] if isinstance(value, list) else value
