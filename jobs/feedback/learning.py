"""Rounds of learning from callers' feedback: each takes what has come since the one before.

The records of the rounds stand in `feedback.json`. A round that is begun keeps its episodes: it is
gone on with, whatever has come meanwhile, until its planner is trained and the proxy has it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from jobs.feedback.pull import Pulled, counted
from jobs.pairs import collect_pairs
from jobs.rounds import Outcome
from jobs.run import Round, Run
from jobs.train import train_on_pairs, train_rft
from mpo_core.amounts import number_of
from mpo_core.errors import InputError
from mpo_core.files import write_text
from mpo_core.proxy.episodes import Assignment, scores_of
from mpo_core.run_folder import RunFolder
from mpo_core.scoring import save_scores
from mpo_core.textfile import read_notes
from mpo_core.types import Plan, PlanScore, PreferencePair, Task

State = Literal["begun", "canary", "current", "withdrawn"]
BASE = "base"


@dataclass(frozen=True)
class Learning:
    """One round."""

    number: int
    first: int
    """The place of its first episode among all that have come."""
    end: int
    """The place after its last one."""
    start: str
    """The planner that it trains (`Run.trainee`)."""
    planner: str
    """What comes of it."""
    pairs: int
    state: State
    version: str = ""
    """What the proxy calls it; empty before it has it."""
    verdict: str = ""
    """What was last said of it as a canary."""

    @property
    def round(self) -> Round:
        """As the trainings have it."""
        return Round(self.number, self.start, self.planner)


@dataclass(frozen=True)
class Evidence:
    """What a round learns from."""

    episodes: list[Assignment]
    tasks: list[Task]
    """All that there were when it began (`tasks_at`)."""
    plans: list[Plan]
    scores: list[PlanScore]
    pairs: list[PreferencePair]
    """But for the validation tasks'."""


def load_rounds(run: Run) -> list[Learning]:
    """The rounds so far. Raises InputError where the record of them is damaged."""
    return rounds_in(run.files)


def rounds_in(files: RunFolder) -> list[Learning]:
    """The same of a run's folder."""
    return read_notes(files.feedback, dict[str, list[Learning]]).get("rounds", [])


def save_rounds(run: Run, rounds: Sequence[Learning]) -> None:
    """Write down the rounds, for the report as other runs have them too."""
    notes = {"rounds": [asdict(one) for one in rounds]}
    write_text(run.files.feedback, json.dumps(notes, indent=1))
    outcomes = [
        Outcome(one.number, one.planner, one.start, one.pairs, None, one.state != "withdrawn")
        for one in rounds
        if one.state != "begun"
    ]
    write_text(run.files.rounds, json.dumps([asdict(one) for one in outcomes], indent=1))


def next_round(run: Run, rounds: Sequence[Learning], pulled: Pulled) -> Learning:
    """The round that is under way, else the one that could begin, on what has come since."""
    if rounds and rounds[-1].state == "begun":
        return rounds[-1]
    number, first = len(rounds) + 1, rounds[-1].end if rounds else 0
    named = {"dpo": "mpo", "rft": "rft"}[run.config.feedback.train]
    planner = named if number == 1 else f"{named}-{number}"
    return Learning(number, first, len(pulled.arms), start_of(rounds), planner, 0, "begun")


def start_of(rounds: Sequence[Learning]) -> str:
    """The planner that the round after these trains: the last that new conversations get."""
    current = [one.planner for one in rounds if one.state == "current"]
    return current[-1] if current else BASE


def check_round(run: Run, number: int) -> None:
    """Raises InputError for a round that has neither been nor could begin."""
    rounds = load_rounds(run)
    last = len(rounds) if rounds and rounds[-1].state == "begun" else len(rounds) + 1
    if number > last:
        raise InputError(
            f"--round {number}: {run.dir} has no such round; the last one, which may begin, is "
            f"--round {last}"
        )


def round_of(run: Run, rounds: Sequence[Learning], pulled: Pulled, number: int) -> Learning:
    """A round by its number, that which could begin among them."""
    return {one.number: one for one in (*rounds, next_round(run, rounds, pulled))}[number]


def collect_evidence(run: Run, pulled: Pulled, this: Learning) -> Evidence:
    """Scores and pairs of the plans of a round's episodes, which are written to the run's folder.

    Raises:
        InputError: the episodes are of several agents, of which the config names none.
    """
    versions = run.config.feedback.planners
    of_round = counted(run, pulled.arms[this.first : this.end])
    learnt = [one for one in of_round if not versions or one.planner in versions]
    scores = scores_of(learnt)
    save_scores(scores, run.files.scores(this.number))
    tasks = tasks_at(pulled, this)
    pairs = collect_pairs(run, tasks, pulled.plans, scores, this.number)
    return Evidence(of_round, tasks, pulled.plans, scores, pairs)


def tasks_at(pulled: Pulled, this: Learning) -> list[Task]:
    """The tasks that there were when a round began: those that come later move the share of them
    that is set apart (`validation`), and with it what the round learns from."""
    there = {one.task_id for one in pulled.arms[: this.end]}
    return [task for task in pulled.tasks if task.id in there]


def train_round(run: Run, this: Learning, found: Evidence) -> dict[str, Any]:
    """Train a round's planner on what it learns from, by `feedback.train`; its summary."""
    if run.config.feedback.train == "rft":
        return train_rft(run, found.tasks, found.plans, found.scores, this.round)
    return train_on_pairs(run, this.round, found.pairs)


def in_state(
    rounds: Sequence[Learning], state: State, *, version: str = "", verdict: str = ""
) -> list[Learning]:
    """The rounds, of which the last has come to a state."""
    *before, last = rounds
    version, verdict = version or last.version, verdict or last.verdict
    return [*before, replace(last, state=state, version=version, verdict=verdict)]


def last_verdict(rounds: Sequence[Learning]) -> str:
    """What was last said of a canary; empty before there was one."""
    return next((one.verdict for one in reversed(rounds) if one.verdict), "")


def with_pairs(rounds: Sequence[Learning], this: Learning, found: Evidence) -> list[Learning]:
    """The rounds, with the one under way as it is trained: on so many pairs."""
    before = [one for one in rounds if one.number < this.number]
    return [*before, replace(this, pairs=len(found.pairs))]


def lacking(run: Run, pulled: Pulled, this: Learning, found: Evidence) -> str:
    """Why a round cannot begin, and what to do, in one line; empty where it can."""
    least, counts = run.config.feedback.least_pairs, pulled.counts
    if len(found.pairs) >= least:
        return ""
    plans: dict[str, set[str]] = {}
    for one in found.episodes:
        plans.setdefault(one.task_id, set()).update({one.plan_id} if one.plan_id else set())
    several = sum(len(of_task) > 1 for of_task in plans.values())
    since = " since the last round" if this.number > 1 else ""
    here = (
        f"{number_of(counts['conversations'], 'conversation')}, {counts['final']} with a final "
        f"reward; {len(found.episodes)} of these{since}, on {number_of(len(plans), 'task')}, "
        f"{several} of them with two plans or more, which tell "
        f"{number_of(len(found.pairs), 'pair')} apart of the {least} that a round waits for "
        "(feedback.least_pairs)"
    )
    if not counts["conversations"]:
        todo = "let an agent's base URL be the proxy's"
    elif not found.episodes:
        todo = "report rewards (mpo_core.feedback, `mpo feedback`, or POST /v1/mpo/feedback)"
    elif several < least:
        todo = "give tasks several plans (proxy.explore=5), and let them come again"
    else:
        todo = "more rewards may tell the plans apart"
    return f"nothing to learn yet: {here}; {todo}"
