"""The planner that a round has trained, in the proxy's folder: on a share of the new conversations
first, where `proxy.canary` asks for it, until its rewards say whether it stays."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from jobs.feedback.learning import Learning, State, in_state, start_of
from jobs.feedback.pull import Pulled, counted
from jobs.feedback.report import attempts_of
from jobs.run import Run
from mpo_core.errors import InputError
from mpo_core.evaluation import task_results
from mpo_core.locks import lock_file
from mpo_core.proxy.differences import differences, verdict
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
from mpo_core.report.feedback import figures
from mpo_core.textfile import read_notes
from mpo_core.training.settings import SUMMARY_FILE
from mpo_core.types import content_hash

LOCK = "planners.lock"
WAIT_S = 10


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
            found[place] = replace(one, state=_state_of(one.version, known))
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
    return in_state(rounds, _state_of(version, known), version)


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


def judge(run: Run, rounds: Sequence[Learning], pulled: Pulled) -> tuple[list[Learning], str]:
    """Whether the canary of the last round stays: put into the place of the current version where
    its rewards are shown to be higher, taken back where they are shown to be lower.

    Only what was begun since the canary came is compared, when chance drew between the two.

    Returns:
        The rounds, and what is to be said; nothing of a last round that is no canary.
    """
    last, folder = rounds[-1], run.config.proxy.folder
    with _alone(folder):
        known = read_planners(folder)
        if known is None or known.canary is None or known.canary.version != last.version:
            return in_state(rounds, _state_of(last.version, known)), ""
        answer, said = _compared(run, pulled, last.version, known.current)
        if answer == "open":
            return list(rounds), f"{last.version} stays a canary: {said}"
        if answer == "better":
            write_planners(
                folder, known.model_copy(update={"current": last.version, "canary": None})
            )
            return in_state(rounds, "current"), f"{last.version} is the current planner now: {said}"
        write_planners(folder, known.model_copy(update={"canary": None}))
        return in_state(rounds, "withdrawn"), f"{last.version} is withdrawn: {said}"


def _compared(run: Run, pulled: Pulled, canary: str, current: str) -> tuple[str, str]:
    seen = counted(run, pulled.arms)
    began = min((one.begun for one in seen if one.arm == canary), default=None)
    if began is None:
        return "open", "no conversation with it has a final reward yet"
    since = [one for one in seen if one.begun >= began and one.arm in (canary, current)]
    since.sort(key=lambda one: one.arm == canary)
    results = task_results(attempts_of(pulled, since), run.config.seed)
    rows = differences(results, run.config.evaluation.bootstrap)
    if not rows:
        return "open", f"no conversation with {current} has a final reward since it came"
    answer, shown = verdict(rows[-1])
    words = {"better": "earns more", "worse": "earns less", "open": "no difference is shown yet"}
    return answer, (
        f"its mean reward minus that with {arm_name(current)}, since it came, is {figures(shown)} "
        f"over {shown['n']} tasks ({words[answer]})"
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other run changes the planners."""
    with ExitStack() as held:
        try:
            held.enter_context(lock_file(folder / LOCK, WAIT_S))
        except BlockingIOError as error:
            raise InputError(f"{folder}: another run changes its planners; run again") from error
        yield
