"""`mpo show`: an episode, a plan or a task in the terminal."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from jobs.view.index import RunIndex
from jobs.view.records import Records
from jobs.view.steps import reached, steps_of
from mpo_core.amounts import number_of
from mpo_core.errors import InputError
from mpo_core.inert import inert, shortened

LONGEST = 4000
"""Characters of one text."""
NOTHING_KEPT = "of its messages nothing was kept; proxy.record_messages=true keeps those to come"


def show(what: str, folders: Sequence[Path], console: Console) -> None:
    """Print what has this key or id, or an unmistakable beginning of it.

    Args:
        folders: the runs that are searched, in this order.

    Raises:
        InputError: none of the runs has it, or several things have it in one run.
    """
    if not what.isprintable():
        raise InputError(f"{what!a}: no episode's key, plan's id or task's id")
    for folder in folders:
        with closing(RunIndex(folder)) as index:
            for _ in index.refresh():
                pass
            records = Records(index)
            found = records.named(what)
            if len(found) > 1:
                names = ", ".join(f"{kind} {name}" for kind, name in found[:4])
                more = f" and {len(found) - 4} more" if len(found) > 4 else ""
                raise InputError(
                    f"{what}: several of {folder.name} begin so: {names}{more}; give more of it"
                )
            for kind, name in found:
                parts = {"episode": _episode, "plan": _plan, "task": _task}[kind](records, name)
                console.print(Group(_text(f"{folder.name}: {kind} {name}\n"), *parts))
                return
    where = folders[0].name if len(folders) == 1 else f"any of {len(folders)} runs"
    raise InputError(
        f"{what}: no episode's key, plan's id or task's id in {where}; `mpo view` lists them"
    )


def _episode(records: Records, key: str) -> list[RenderableType]:
    row = records.episode_row(key)
    assert row is not None
    episode = records.episode(row)
    steps = steps_of(episode.plan or "")
    at = reached(steps, [turn.action for turn in episode.turns])
    marks = {turn: number for number, turn in enumerate(at, start=1) if turn is not None}
    parts: list[RenderableType] = [
        _text(
            f"reward {row['reward']:.2f}, {row['end']}, {number_of(row['steps'], 'step')}, "
            f"{row['tokens']:,} tokens, {row['stage']}, {_given(row)}"
        ),
        *_described(records, row["task_id"]),
    ]
    if episode.plan:
        parts += [Text(inert(f"plan {episode.plan_id}"), style="bold"), _text(episode.plan)]
    if marks:
        parts.append(
            Text("(turns reach its steps by a guess, from the words of both)", style="dim")
        )
    for number, turn in enumerate(episode.turns):
        step = f", perhaps step {marks[number]}" if number in marks else ""
        said = turn.action or f"(no action: {turn.fault or 'no action line'})"
        parts += [
            Text(f"\n{number + 1}{step}, score {turn.score:.2f}", style="dim"),
            Text(f"> {inert(said)}", style="bold"),
            _text(turn.observation),
        ]
    # Of a caller's episode there are its messages, where they were kept.
    for message in [] if episode.turns else episode.messages:
        parts += [Text(f"\n{inert(message['role'])}", style="dim"), _text(message["content"])]
    if not episode.turns and not episode.messages:
        parts.append(Text(f"\n{NOTHING_KEPT}", style="dim"))
    return parts


def _given(row: sqlite3.Row) -> str:
    """Whose plan an episode was given; of a caller's, the arm that it was drawn into."""
    if row["conversation"] is None:
        return f"plan of {row['planner'] or 'a given file'}"
    missing = f" (without the plan that was due: {row['why']})" if row["why"] else ""
    return f"arm {row['planner']}{missing}, conversation {row['conversation']}"


def _plan(records: Records, plan_id: str) -> list[RenderableType]:
    plan = records.plan(plan_id)
    assert plan is not None
    return [
        _text(
            f"of {', '.join(dict.fromkeys([plan['planner'] or 'a given file', plan['origin']]))}"
        ),
        *_described(records, plan["task_id"]),
        _text(plan["text"]),
        _episodes(records, {"plan_id": plan_id, "sort": "oldest"}),
    ]


def _task(records: Records, task_id: str) -> list[RenderableType]:
    parts = _described(records, task_id)[1:]  # Its id stands above.
    for plan in records.plans(task_id):
        earned = "no episodes"
        if plan["mean"] is not None:
            episodes = "1 episode" if plan["n"] == 1 else f"{plan['n']} episodes"
            earned = f"mean reward {plan['mean']:.2f} of {episodes}"
        heading = f"\nplan {plan['id']} of {plan['planner']}, {earned}"
        parts += [Text(inert(heading), style="bold"), Padding(_text(plan["text"]), (0, 0, 0, 2))]
    return [*parts, _episodes(records, {"task_id": task_id, "sort": "reward"})]


def _described(records: Records, task_id: str) -> list[RenderableType]:
    task = records.task(task_id)
    # An id is no panel's title, which would be cut.
    parts: list[RenderableType] = [_text(task_id)]
    return [*parts, Panel(_text(task["description"]))] if task and task["description"] else parts


def _episodes(records: Records, asked: dict[str, str]) -> Table:
    found = records.episodes(asked)
    columns = ("episode", "planner", "stage", "reward", "end", "steps")
    table = Table(*columns, box=box.SIMPLE, pad_edge=False)
    for row in found.rows:
        texts = (row["key"], row["planner"] or "given", row["stage"])
        figures = (f"{row['reward']:.2f}", row["end"], str(row["steps"]))
        table.add_row(*(Text(inert(value)) for value in (*texts, *figures)))
    if found.more:
        table.caption = f"{found.total} in all"
    return table


def _text(text: str) -> Text:
    """As it is: no markup, no control characters."""
    return Text(inert(shortened(text, LONGEST)))
