"""A run goes on to the scoring only with an SFT planner that has reached its teacher."""

import pytest

from jobs.configs import named_config
from jobs.imitation import require_teacher_matched
from jobs.tasks import load_tasks
from mpo_core.errors import InputError
from mpo_core.types import Plan
from tests.bare_run import bare_run
from tests.fakes import episode

TASKS, SAMPLES = 40, 2


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose plans earn what their text says; `run.worth` is by planner and kind of plan."""
    samples = f"evaluation.plan_samples={SAMPLES}"
    run = bare_run(tmp_path, monkeypatch, TASKS, samples, "validation=0.5")
    run.worth = {}

    def plans(arm, of_tasks, samples):
        of_sampled = run.worth[arm, bool(samples)]
        return [
            Plan.of(one.id, f"{of_sampled[place % len(of_sampled)]} {sample}", arm, sample)
            for place, one in enumerate(of_tasks)
            for sample in range(samples or 1)
        ]

    def drawn(run, version, split, tasks, samples=0):
        return plans(version, tasks, samples)

    run.train = load_tasks(run, "train")
    run.seeds = lambda: plans("teacher", run.train, 8)
    monkeypatch.setattr("jobs.imitation.collect_plans", drawn)
    monkeypatch.setattr(
        "jobs.imitation.play",
        lambda run, name, requests: {
            r.key: episode(r, float(r.plan.text.split()[0])) for r in requests
        },
    )
    return run


@pytest.mark.parametrize(
    ("greedy", "sampled"),
    # The last is a difference that so few tasks do not show.
    [([0.5], [0.5]), ([0.9], [0.9]), ([1.0, 0.0, 0.0, 0.9], [0.5])],
)
def test_a_planner_that_is_not_shown_to_fall_short_goes_on(run, greedy, sampled):
    run.worth = {("teacher", True): [0.5], ("sft", False): greedy, ("sft", True): sampled}
    require_teacher_matched(run, run.train, run.seeds())


@pytest.mark.parametrize(
    ("greedy", "sampled", "short"),
    [([0.2], [0.5], "one plan a task"), ([0.5], [0.3], "sampled plans")],
)
def test_a_planner_that_is_shown_to_fall_short_ends_the_run(run, greedy, sampled, short):
    run.worth = {("teacher", True): [0.5], ("sft", False): greedy, ("sft", True): sampled}
    with pytest.raises(InputError, match=f"falls short of its teacher on the 20 .*{short}") as said:
        require_teacher_matched(run, run.train, run.seeds())
    assert "\n" not in str(said.value)


def test_without_tasks_to_measure_on_it_is_said_so(run):
    run.config.validation = 0.01
    with pytest.raises(InputError, match=r"no task to measure on: validation=0\.01 of 40 "):
        require_teacher_matched(run, run.train, [])


def test_one_task_shows_nothing(run):
    run.config.validation = 1 / TASKS
    run.worth = {("teacher", True): [1.0], ("sft", False): [0.0], ("sft", True): [0.0]}
    require_teacher_matched(run, run.train, run.seeds())


def test_a_teacher_without_a_plan_of_any_validation_task_is_not_matched(run):
    run.seeds = list
    run.worth = {("sft", False): [0.0], ("sft", True): [0.0]}
    with pytest.raises(InputError, match="has made no plan of the 20 validation tasks"):
        require_teacher_matched(run, run.train, run.seeds())


def test_only_sft_is_measured_by_its_teacher():
    without = ["planner={model: planner, match_teacher: true}", "evaluation.arms=[none]"]
    with pytest.raises(InputError, match=r"planner\.match_teacher: needs planner\.sft"):
        named_config("demo", without)
