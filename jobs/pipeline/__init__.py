"""The whole loop: tasks, seeds, SFT, plans, scores, pairs, DPO, RFT, policy gradient, controls,
evaluation.

    python -m jobs.pipeline CONFIG [key=value ...]

Every stage leaves its result in the run directory and takes up what it finds there, so the same
command continues an interrupted run.
"""

from typing import Any

from jobs.collect import TAUGHT, collect_seeds, taught_plans
from jobs.evaluate import evaluate
from jobs.feedback.pipeline import learn
from jobs.imitation import require_teacher_matched, tasks_to_match_on
from jobs.rounds import run_rounds
from jobs.run import Run
from jobs.tasks import collect_tasks
from jobs.train import train_agent, train_controls, train_pg, train_rft, train_sft
from mpo_core.report import SUMMARY


def run_pipeline(run: Run) -> dict[str, Any]:
    """All stages in order; returns the summary."""
    if run.config.source == "feedback":
        return learn(run)
    # A cluster without room, an unreachable store and an endpoint of no use are found out before
    # the work, not after.
    run.backend.connect()
    run.tracker  # noqa: B018
    if not (run.files.report / SUMMARY).is_file():
        run.probe_endpoints()
    tasks = collect_tasks(run)
    train = tasks["train"]
    if run.config.planner.match_teacher:
        tasks_to_match_on(run, train)
    for arm in run.config.evaluation.arms:
        if arm in TAUGHT:
            # A task that its teacher can make no plan of is found out before the trainings.
            for split in run.config.evaluation.splits:
                taught_plans(run, arm, split, tasks[split])
    if run.config.agent.sft:
        train_agent(run, train)
    if run.config.planner.sft:
        seeds = collect_seeds(run, train)
        train_sft(run, train, seeds.plans)
        if run.config.planner.match_teacher:
            require_teacher_matched(run, train, seeds.plans)
    rounds = run_rounds(run, train)
    if "rft" in run.config.evaluation.arms:
        train_rft(run, train, rounds.plans, rounds.scores)
    if "pg" in run.config.evaluation.arms:
        train_pg(run, train, rounds.plans, rounds.scores)
    train_controls(run, train, rounds.pairs)
    return evaluate(run, tasks)
