"""The whole loop of a run on callers' feedback, as far as what has come allows."""

import sys
from typing import Any

from jobs.feedback.learning import (
    Learning,
    collect_evidence,
    lacking,
    last_verdict,
    load_rounds,
    next_round,
    save_rounds,
    train_round,
    with_pairs,
)
from jobs.feedback.prospect import other_planner
from jobs.feedback.pull import Pulled, check_input, pull
from jobs.feedback.report import report
from jobs.feedback.versions import check_prompts, follow, held_up, judge, publish, standing
from jobs.run import Run
from mpo_core.amounts import number_of


def learn(run: Run) -> dict[str, Any]:
    """Pull what has come, judge the canary, do the round that can be done, and report.

    Which planners are in use is asked of the proxy's folder. The same command again goes on: with a
    round that was cut off, else with what came since.

    Returns:
        The report's summary; empty where no conversation has a final reward yet.
    """
    # What is refused leaves nothing; the store comes last, since it takes note of the run.
    check_prompts(run)
    check_input(run)
    run.tracker  # noqa: B018
    if warning := other_planner(run):
        print(f"{run.config.name}: {warning}", file=sys.stderr)
    pulled = pull(run)
    rounds, sentence = follow(run, load_rounds(run))
    said = [sentence] if sentence else []
    if sentence:
        save_rounds(run, rounds)
    if rounds and rounds[-1].state == "canary":
        rounds, sentence = judge(run, rounds, pulled)
        save_rounds(run, rounds)
        said.append(sentence)
    if held := held_up(run):
        said.append(held)
    elif not rounds or rounds[-1].state != "canary":
        rounds, sentence = _round(run, pulled, rounds)
        said.append(sentence)
    return _reported(run, pulled, rounds, said)


def evaluate(run: Run) -> dict[str, Any]:
    """Pull what has come, and report, without learning from it; empty as of `learn`."""
    check_input(run)
    run.tracker  # noqa: B018
    return _reported(run, pull(run), load_rounds(run), [])


def _round(run: Run, pulled: Pulled, rounds: list[Learning]) -> tuple[list[Learning], str]:
    """Do the round that is under way or can begin; the rounds, and what came of it."""
    this = next_round(run, rounds, pulled)
    found = collect_evidence(run, pulled, this)
    if this not in rounds and (reason := lacking(run, pulled, this, found)):
        return rounds, reason
    rounds = with_pairs(rounds, this, found)
    save_rounds(run, rounds)
    train_round(run, this, found)
    rounds, _ = follow(run, rounds)
    if rounds[-1].start != this.start:
        # What it was trained from has been taken back meanwhile.
        return _round(run, pulled, rounds)
    rounds = publish(run, rounds, pulled.arms)
    save_rounds(run, rounds)
    last = rounds[-1]
    given = {
        "canary": f"a share of {run.config.proxy.canary:g} of the new conversations get its plans",
        "current": "new conversations get its plans",
    }.get(last.state, f"{run.config.proxy.folder}/planners.json has another in its place")
    return rounds, (
        f"round {last.number} has trained {last.version} from {last.start} on "
        f"{number_of(last.pairs, 'pair')}: {given}"
    )


def _reported(run: Run, pulled: Pulled, rounds: list[Learning], said: list[str]) -> dict[str, Any]:
    verdict = last_verdict(rounds)
    if verdict and verdict not in said:
        said = [f"the last verdict: {verdict}", *said]
    if pulled.arms:
        return report(run, pulled, rounds, standing(run.config.proxy.folder, rounds), said)
    for sentence in said or ["no conversation has a final reward yet"]:
        print(f"{run.config.name}: {sentence}", file=sys.stderr)
    return {}
