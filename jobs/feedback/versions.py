"""The planner that a round has trained, in the proxy's folder: on a share of the new conversations
first, where `proxy.canary` asks for it, until its rewards say whether it stays."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.feedback.learning import Learning, State, in_state, start_of
from jobs.feedback.pull import Pulled, counted
from jobs.feedback.report import attempts_of, since_it_came, without_plan
from jobs.run import Run
from mpo_core.amounts import number_of
from mpo_core.errors import InputError
from mpo_core.evaluation import task_results
from mpo_core.locks import lock_file
from mpo_core.proxy.differences import Verdict, difference, verdict
from mpo_core.proxy.episodes import Assignment
from mpo_core.proxy.looking import arms_of
from mpo_core.proxy.planners import (
    FILE,
    Canary,
    Planners,
    Source,
    free_version,
    read_planners,
    write_planners,
)
from mpo_core.report.arms import arm_name
from mpo_core.report.feedback import figures, missing_words
from mpo_core.textfile import read_notes
from mpo_core.training.settings import SUMMARY_FILE
from mpo_core.types import content_hash

LOCK = "planners.lock"
WAIT_S = 10
BECOMES: Mapping[Verdict, tuple[State, str]] = {
    "better": ("current", "is in use from here on"),
    "worse": ("withdrawn", "is withdrawn"),
    "open": ("canary", "stays a canary"),
}
EARNS = {"better": "earns more", "worse": "earns less", "open": "no difference is shown yet"}
BY_FILE = {"current": "in use", "withdrawn": "taken back", "canary": "a canary again"}


def check_prompts(run: Run) -> None:
    """Raises InputError where the proxy asks its current planner by other prompts than a new one
    would learn."""
    folder, learnt = run.config.proxy.folder, run.config.feedback.prompts
    known = read_planners(folder)
    asked = known.versions[known.current] if known else None
    if asked and asked.plans is None and asked.env != learnt:
        raise InputError(
            f"feedback.prompts: {learnt}, and the proxy asks its planner by those of {asked.env}; "
            f"set feedback.prompts={asked.env}"
        )


def follow(run: Run, rounds: Sequence[Learning]) -> tuple[list[Learning], str]:
    """The rounds as the proxy's planners have them by now: whoever writes these has the last word.

    What a round has trained is withdrawn where an earlier round's version, or none of theirs, is in
    its place, and is current where it was put back. A round under way trains what is in use, unless
    the proxy has its planner already.

    Returns:
        The rounds, and what is to be said where they are not as they were; nothing where they are.
    """
    folder = run.config.proxy.folder
    known = read_planners(folder)
    current = known.current if known else None
    found = [
        replace(one, version=_given(run, one, known)) if one.state == "begun" else one
        for one in rounds
    ]
    in_use = max((one.number for one in found if one.version == current), default=0)
    for place, one in enumerate(found):
        if one.state != "begun" and one.number >= in_use:
            found[place] = _as_in_file(one, known)
        elif one.state == "begun" and not one.version:
            found[place] = replace(one, start=start_of(found[:place]))
    if [(one.state, one.start) for one in found] == [(one.state, one.start) for one in rounds]:
        return found, ""
    begun = found[-1].state == "begun"
    start = found[-1].start if begun else start_of(found)
    named = f"has {current} in use" if current else "is not there"
    return found, f"{folder / FILE} {named}; what is trained next goes on from {start}"


def _given(run: Run, this: Learning, known: Planners | None) -> str:
    """The version by which a proxy has the planner of a round; empty where it has not."""
    if known is None or not run.trainee(this.planner).summary():
        return ""
    source = _source_of(run, this.planner)
    return next((name for name, known in known.versions.items() if known == source), "")


def held_up(run: Run) -> str:
    """Why no round may begin, in one line: a canary that somebody else has put in would be lost to
    the version that is trained. Empty where there is none."""
    known = read_planners(run.config.proxy.folder)
    if known is None or known.canary is None:
        return ""
    canary = known.canary.version
    folder, here = known.versions[canary].folder, run.config.run_dir.resolve()
    if folder and Path(folder).is_relative_to(here):
        return ""
    return (
        f"{run.config.proxy.folder / FILE} has {canary} as its canary, which is not of this run: "
        "make it current there or take it out, and run again; nothing is trained until then"
    )


def publish(run: Run, rounds: Sequence[Learning], seen: Sequence[Assignment]) -> list[Learning]:
    """Let the proxy know the planner of the last round; the same one again changes nothing, also
    where it is not in use any more.

    Args:
        seen: episodes, whose versions have names that are taken; so have those of earlier rounds,
            and of the conversations in the proxy's folder.

    Returns:
        The rounds, the last with its version and state.
    """
    proxy, last = run.config.proxy, rounds[-1]
    source = _source_of(run, last.planner)
    with _alone(proxy.folder):
        known = read_planners(proxy.folder)
        versions = dict(known.versions) if known else {}
        version = next((name for name, known in versions.items() if known == source), "")
        if not version:
            named = {one.version for one in rounds if one.version}
            arms = {one.arm for one in seen} | arms_of(proxy.folder)
            version = free_version({*versions, *named, *arms})
            versions[version] = source
            share = proxy.canary if known and proxy.canary < 1 else 0
            canary = Canary(version=version, share=share) if share else None
            current = known.current if known and canary else version
            known = Planners(current=current, canary=canary, versions=versions)
            write_planners(proxy.folder, known)
    assert known is not None
    return in_state(rounds, _state_of(version, known), version=version)


def _source_of(run: Run, planner: str) -> Source:
    """Of a planner's weights, told from others that lay at the same place."""
    folder = run.trainee(planner).folder.resolve()
    training = content_hash(read_notes(folder / SUMMARY_FILE))
    return Source(folder=folder, env=run.config.feedback.prompts, training=training)


def _state_of(version: str, known: Planners | None) -> State:
    """Whether a proxy uses a version that it was given: whoever writes the file may decide."""
    if known and known.canary and known.canary.version == version:
        return "canary"
    return "current" if known and known.current == version else "withdrawn"


def _as_in_file(one: Learning, known: Planners | None) -> Learning:
    """A round whose version is where a proxy's planners have it, and says so where it was not."""
    state = _state_of(one.version, known)
    if state == one.state:
        return one
    return replace(one, state=state, verdict=f"{one.version} is {BY_FILE[state]}, by {FILE}")


def judge(run: Run, rounds: Sequence[Learning], pulled: Pulled) -> tuple[list[Learning], str]:
    """Whether the canary of the last round stays: put into the place of the current version where
    its rewards are shown to be higher, taken back where they are shown to be lower.

    Only what was begun since the canary came is compared, when chance drew between the two.

    Returns:
        The rounds, and the verdict, which the last one keeps.
    """
    last, folder = rounds[-1], run.config.proxy.folder
    with _alone(folder):
        known = read_planners(folder)
        if known is None or known.canary is None or known.canary.version != last.version:
            decided = _as_in_file(last, known)
            return [*rounds[:-1], decided], decided.verdict
        answer, why = _compared(run, pulled, last.version, known.current)
        state, becomes = BECOMES[answer]
        said = f"the canary {last.version} {becomes}: {why}"
        if state != "canary":
            current = last.version if state == "current" else known.current
            write_planners(folder, known.model_copy(update={"current": current, "canary": None}))
        return in_state(rounds, state, verdict=said), said


def _compared(run: Run, pulled: Pulled, canary: str, current: str) -> tuple[Verdict, str]:
    since = since_it_came(counted(run, pulled.arms), canary, current)
    for arm in (canary, current):
        if not any(one.arm == arm for one in since):
            return "open", f"no conversation with {arm} has a final reward since it came"
    results = task_results(attempts_of(pulled, since), run.config.seed)
    row = difference(results, canary, current, run.config.evaluation.bootstrap)
    answer, shown = verdict(row)
    where = "of both" if shown is row["same"] else "of either, over all conversations"
    missing = [
        missing_words(arm, reasons, sum(one.arm == arm for one in since))
        for arm, reasons in without_plan(since).items()
    ]
    return answer, (
        f"its mean reward minus that with {arm_name(current)}, since it came, is {figures(shown)} "
        f"on the {number_of(shown['n'], 'task')} {where} ({EARNS[answer]})"
        + "".join(f"; {words}" for words in missing)
    )


def standing(folder: Path, rounds: Sequence[Learning]) -> list[dict[str, Any]]:
    """The versions that a proxy's folder knows or that rounds have trained, in their order.

    Returns:
        Rows of `version`, `state` (in use, canary, withdrawn, not in use), `round`, `start` (the
        version that it was trained from), `pairs` and `verdict`; the last four None or empty of
        what was not trained here.
    """
    known = read_planners(folder)
    trained = {one.version: one for one in rounds if one.version}
    called = {one.planner: one.version for one in trained.values()}
    rows = []
    for version in dict.fromkeys([*(known.versions if known else ()), *trained]):
        one, state = trained.get(version), _state_of(version, known)
        words = {"current": "in use", "canary": "canary"}.get(state, "not in use")
        if one and one.state == "withdrawn" and state == "withdrawn":
            words = "withdrawn"
        rows.append(
            {
                "version": version,
                "state": words,
                "round": one and one.number,
                "start": called.get(one.start, one.start) if one else "",
                "pairs": one and one.pairs,
                "verdict": one.verdict if one else "",
            }
        )
    return rows


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other run changes the planners."""
    with ExitStack() as held:
        try:
            held.enter_context(lock_file(folder / LOCK, WAIT_S))
        except BlockingIOError as error:
            raise InputError(f"{folder}: another run changes its planners; run again") from error
        yield
