"""Stage: preference pairs from a round's scored plans."""

from collections import Counter
from collections.abc import Iterable, Sequence

from jobs.run import Run
from jobs.tasks import parted, set_apart
from mpo_core.errors import InputError
from mpo_core.files import write_records
from mpo_core.ledger import read_records
from mpo_core.pairs import RULES, chosen_pairs, half_turned, make_pairs
from mpo_core.types import Plan, PlanScore, PreferencePair, Task


def collect_pairs(
    run: Run,
    tasks: Sequence[Task],
    plans: Sequence[Plan],
    scores: Sequence[PlanScore],
    round_number: int = 1,
) -> list[PreferencePair]:
    """Write the pairs of a round's scored plans of the training tasks, by the config's rule; tasks
    whose plans tie give none.

    Those of the validation tasks go into a file of their own, and are not returned.
    """
    rule = run.config.pairs.rule
    pairs = make_pairs(rule, tasks, plans, scores, run.prompts, **_limits(run))
    training, held_out = parted(pairs, tasks, run.config.validation)
    write_records(run.files.pairs(round_number), training)
    write_records(run.files.validation_pairs(round_number), held_out)
    return training


def collect_control_pairs(
    run: Run, tasks: Sequence[Task], pairs: Sequence[PreferencePair], version: str
) -> list[PreferencePair]:
    """Write the pairs of a control planner (`Run.controls`): the first round's, half turned."""
    turned = half_turned(pairs, tasks, run.controls[version])
    write_records(run.files.control_pairs(version), turned)
    return turned


def load_pairs(run: Run, round_number: int = 1) -> list[PreferencePair]:
    """A round's pairs. Raises InputError where there are none."""
    path = run.files.pairs(round_number)
    if not path.is_file():
        raise InputError(f"{path}: no pairs; run `mpo pairs` with the same config first")
    return read_records(path, PreferencePair)


def yields(
    run: Run, tasks: Sequence[Task], scores: Sequence[PlanScore]
) -> dict[str, dict[str, int]]:
    """What every rule would give of scored plans: its pairs, and the tasks that have one."""
    found = {
        rule: Counter(task.id for task, *_ in chosen_pairs(rule, tasks, scores, **_limits(run)))
        for rule in RULES
    }
    return {
        rule: {"pairs": of_rule.total(), "tasks": len(of_rule)} for rule, of_rule in found.items()
    }


def yields_of_all(rounds: Iterable[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    """What every rule gives of all rounds' scored plans."""
    found: dict[str, Counter[str]] = {}
    for of_round in rounds:
        for rule, amounts in of_round.items():
            found.setdefault(rule, Counter()).update(amounts)
    return {rule: dict(amounts) for rule, amounts in found.items()}


def count_pairs(run: Run, tasks: Sequence[Task], scores: Sequence[PlanScore]) -> int:
    """How many pairs to train on `collect_pairs` would give; writes nothing."""
    apart = {task.id for task in set_apart(tasks, run.config.validation)}
    chosen = chosen_pairs(run.config.pairs.rule, tasks, scores, **_limits(run))
    return sum(task.id not in apart for task, *_ in chosen)


def _limits(run: Run) -> dict[str, float]:
    return {"min_margin": run.config.pairs.min_margin, "level": run.config.pairs.level}
