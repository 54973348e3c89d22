"""Stage: preference pairs from a round's scored plans."""

from collections import Counter

from jobs.plans import load_plans
from jobs.rollout import load_plan_scores
from jobs.run import Run
from jobs.tasks import load_tasks, parted
from mpo_core.files import write_records
from mpo_core.pairs import RULES, chosen_pairs, half_turned, make_pairs
from mpo_core.types import PreferencePair


def collect_pairs(run: Run, version: str, round_number: int = 1) -> list[PreferencePair]:
    """Write the pairs of a planner's plans by the config's rule; tasks whose plans tie give none.

    Those of the validation tasks go into a file of their own, and are not returned.
    """
    scores, tasks = load_plan_scores(run, round_number), load_tasks(run, "train")
    plans, rule = load_plans(run, version, "train"), run.config.pairs.rule
    pairs = make_pairs(rule, tasks, plans, scores, run.prompts, **_limits(run))
    training, held_out = parted(run, pairs)
    write_records(run.files.pairs(round_number), training)
    write_records(run.files.validation_pairs(round_number), held_out)
    return training


def collect_control_pairs(run: Run, version: str) -> list[PreferencePair]:
    """Write the pairs of a control planner (`Run.controls`): the first round's, half turned."""
    pairs = run.records(run.files.pairs(), PreferencePair)
    turned = half_turned(pairs, load_tasks(run, "train"), run.controls[version])
    write_records(run.files.control_pairs(version), turned)
    return turned


def yields(run: Run, round_number: int = 1) -> dict[str, dict[str, int]]:
    """What every rule would give: its pairs, and the tasks that have one."""
    scores, tasks = load_plan_scores(run, round_number), load_tasks(run, "train")
    found = {
        rule: Counter(task.id for task, *_ in chosen_pairs(rule, tasks, scores, **_limits(run)))
        for rule in RULES
    }
    return {
        rule: {"pairs": of_rule.total(), "tasks": len(of_rule)} for rule, of_rule in found.items()
    }


def _limits(run: Run) -> dict[str, float]:
    return {"min_margin": run.config.pairs.min_margin, "level": run.config.pairs.level}
