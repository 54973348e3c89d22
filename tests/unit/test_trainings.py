"""Which rows each training of the planner gets, where it starts, and whose plans its arm plays.

A training itself is left out: what would be trained is written down instead.
"""

from types import SimpleNamespace

import pytest

from jobs.arms import asked_of, planners
from jobs.collect import Seeds
from jobs.configs import named_config
from jobs.pipeline import run_pipeline
from jobs.rounds import Rounds
from jobs.run import Run
from jobs.train import train_controls
from jobs.trainings import train_by_name
from mpo_core.config import SftConfig
from mpo_core.conversations import SftExample
from mpo_core.errors import InputError
from mpo_core.evaluation import Attempt, task_results
from mpo_core.files import write_records
from mpo_core.ledger import read_records
from mpo_core.pairs import make_pairs
from mpo_core.scoring import save_scores
from mpo_core.types import Demonstration, Plan, PlanScore, PreferencePair, ScoredAnswer
from tests.fakes import PROMPTS, episode, protocol, task

SETTINGS = [
    "validation=0.2",
    "planner.pg={lora: {rank: 8, alpha: 16}, batch_size: 2}",
    "planner.sft.lora={rank: 8, alpha: 16}",
    "training.lora={rank: 8, alpha: 16}",
    "evaluation.arms=[sft, rft, pg, mpo, shuffled]",
    "scoring.shuffle=[3, 5]",
]
REWARDS = [1.0, 0.75, 0.0, 0.0]
N = 20


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run by its files alone, its training tasks sampled, scored and paired."""
    run = object.__new__(Run)
    run.config = named_config("demo-paper", SETTINGS)
    run.dir, run.prompts, run.suites = tmp_path / "run", {"toy": PROMPTS}, {}
    tasks = [task(k) for k in range(N)]
    plans = [
        Plan.of(one.id, f"Step 1: {k}.", "sft", k) for one in tasks for k in range(len(REWARDS))
    ]
    # The plans of the first task tie.
    scores = [
        PlanScore.of(plan.task_id, plan.id, [REWARDS[plan.sample] * (plan.task_id != tasks[0].id)])
        for plan in plans
    ]
    write_records(run.dir / "tasks" / "train.jsonl", tasks)
    save_scores(scores, run.files.scores())
    monkeypatch.setattr("jobs.trainings.load_plans", lambda *_: plans)
    run.all_pairs = make_pairs("best_worst", tasks, plans, scores, run.prompts)
    return run


@pytest.fixture
def trained(monkeypatch):
    """What was to be trained: a tuple a training, its rows and settings by name."""
    asked = []

    def note(run, trainee, objective, rows, config, *, start=None, validation=None):
        asked.append(
            {"version": trainee.name, "objective": objective, "rows": rows, "config": config}
            | {"start": start, "validation": validation}
        )
        return {"version": trainee.name}

    for module in ("train", "trainings"):
        monkeypatch.setattr(f"jobs.{module}.train", note)
    return asked


def write_pairs(run):
    write_records(run.dir / "pairs" / "pairs.jsonl", run.all_pairs[:10])
    write_records(run.dir / "pairs" / "validation.jsonl", run.all_pairs[10:])


def test_a_control_is_trained_as_the_planner_is_on_its_pairs_half_turned(run, trained):
    write_pairs(run)
    folders = [folder for _, folder in train_by_name(run, "shuffled")]
    assert folders == [run.dir / "planner" / f"shuffled-{seed}" for seed in (3, 5)]
    train_by_name(run, "dpo")
    *controls, real = trained
    assert [one["version"] for one in trained] == ["shuffled-3", "shuffled-5", "mpo"]
    mixed = []
    for one in controls:
        for key in ("objective", "config", "start", "validation"):
            assert one[key] == real[key]
        assert one["rows"] == run.dir / "pairs" / f"{one['version']}.jsonl"
        mixed.append(read_records(one["rows"], PreferencePair))
    assert (real["start"], real["validation"].name) == ("sft", "validation.jsonl")
    for pairs in mixed:
        assert [pair.task_id for pair in pairs] == [pair.task_id for pair in run.all_pairs[:10]]
        assert sum(pair.chosen_score.mean < pair.rejected_score.mean for pair in pairs) == 5
    assert mixed[0] != mixed[1]
    assert read_records(real["rows"], PreferencePair) == run.all_pairs[:10]


def test_without_seeds_there_are_no_controls(run, trained):
    run.config = named_config("demo-paper")
    assert train_controls(run, [], []) == [] == trained
    with pytest.raises(InputError, match=r"scoring\.shuffle: not set"):
        train_by_name(run, "shuffled")
    assert planners(run, "shuffled") == []


def test_controls_need_the_rounds_pairs(run, trained):
    with pytest.raises(InputError, match="no pairs; run `mpo pairs`"):
        train_by_name(run, "shuffled")
    assert trained == []


def test_policy_gradient_learns_from_all_scored_plans_but_the_validation_tasks(run, trained):
    train_by_name(run, "pg")
    [asked] = trained
    assert (asked["version"], asked["objective"], asked["start"]) == ("pg", "pg", "sft")
    assert asked["config"] == run.config.planner.pg and asked["config"].batch_size == 2
    learnt, held_out = (read_records(asked[part], ScoredAnswer) for part in ("rows", "validation"))
    assert len(learnt) + len(held_out) == N * len(REWARDS)
    assert len(held_out) == 4 * len(REWARDS)
    assert not {a.task_id for a in learnt} & {a.task_id for a in held_out}
    tied = [a.advantage for a in learnt + held_out if a.task_id == task(0).id]
    assert tied == [0.0] * len(REWARDS)
    assert sum(a.advantage > 0 for a in learnt + held_out) == 2 * (N - 1)


def test_policy_gradient_without_a_difference_is_refused_with_advice(run, trained):
    one = [PlanScore.of(s.task_id, s.plan_id, [0.5]) for s in scores_of(run)]
    save_scores(one, run.files.scores())
    with pytest.raises(InputError, match=r"answers\.jsonl: the plans of every task tie"):
        train_by_name(run, "pg")
    assert trained == []


def scores_of(run):
    from mpo_core.scoring import load_scores

    return load_scores(run.files.scores())


@pytest.mark.parametrize(("pick", "per_task"), [("best", 1), ("above_mean", 2)])
def test_rft_imitates_the_best_plan_or_all_above_the_mean(run, trained, pick, per_task):
    run.config.planner.rft.pick = pick
    train_by_name(run, "rft")
    [asked] = trained
    shown = [
        *read_records(asked["rows"], Demonstration),
        *read_records(asked["validation"], Demonstration),
    ]
    # The tie's first plan is its best; above the mean it has none.
    of_tie = [one for one in shown if one.task_id == task(0).id]
    assert len(of_tie) == (pick == "best")
    assert len(shown) - len(of_tie) == per_task * (N - 1)
    texts = {one.completion[0]["content"] for one in shown}
    assert texts == {f"Step 1: {k}." for k in range(per_task)}
    assert asked["objective"] == "sft" and asked["config"] == run.config.planner.sft


def test_rft_above_the_mean_where_all_tie_is_refused_with_advice(run, trained):
    one = [PlanScore.of(s.task_id, s.plan_id, [0.5]) for s in scores_of(run)]
    save_scores(one, run.files.scores())
    run.config.planner.rft.pick = "above_mean"
    with pytest.raises(InputError, match=r"rft\.jsonl: the plans of every task tie"):
        train_by_name(run, "rft")
    assert trained == []


def test_rft_has_settings_of_its_own_where_given(run, trained):
    run.config.planner.rft.training = SftConfig(learning_rate=1e-3)
    train_by_name(run, "rft")
    assert trained[0]["config"] == run.config.planner.rft.training


def test_rows_given_to_policy_gradient_need_no_run(run, trained, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "Plan.", "completion": "Step 1: Go.", "advantage": 0.5}\n')
    run.config.planner.pg = None
    [(_, folder)] = train_by_name(run, "pg", given=file)
    [asked] = trained
    assert folder == run.dir / "planner" / "pg" and asked["start"] is None
    assert asked["config"].ratio_cap == 3
    assert read_records(asked["rows"], SftExample)[0].completion[0]["content"] == "Step 1: Go."
    with pytest.raises(InputError, match=r"planner\.pg: not set, so pg has no settings"):
        train_by_name(run, "pg")


def test_the_shuffled_arms_result_on_a_task_is_the_mean_over_its_planners(run, monkeypatch):
    held_out = [task(k, "unseen") for k in (30, 31)]
    write_records(run.dir / "tasks" / "unseen.jsonl", held_out)
    # The two controls write another plan for the first task, and the same for the second.
    said = {"shuffled-3": ("A", "C"), "shuffled-5": ("B", "C")}
    rewards = {"A": 1.0, "B": 0.5, "C": 0.25}
    monkeypatch.setattr(
        "jobs.arms.collect_plans",
        lambda run, version, split, tasks: [
            Plan.of(one.id, text, version) for one, text in zip(tasks, said[version], strict=True)
        ],
    )
    run.agent_fingerprint = lambda: "agent"
    monkeypatch.setattr(
        "jobs.rollout.agent_protocol",
        lambda run, task, temperature: protocol(temperature=temperature),
    )
    asked = [one.request for one in asked_of(run, "shuffled", "unseen", held_out)]
    assert len({request.key for request in asked}) == 3
    attempts = [Attempt("shuffled", r.task, episode(r, rewards[r.plan.text])) for r in asked]
    first, second = task_results(attempts, seed=1)
    assert (first.reward, second.reward) == (0.75, 0.25)
    assert first.n_episodes == second.n_episodes == 2
    assert planners(run, "mpo") == ["mpo"] and planners(run, "expert") == []


@pytest.mark.parametrize(
    ("arms", "trainings"),
    [
        ("[sft, rft, pg, mpo, shuffled]", ["sft", "rounds", "rft", "pg", "controls"]),
        ("[sft, pg]", ["sft", "rounds", "pg", "controls"]),
        ("[sft, mpo]", ["sft", "rounds", "controls"]),
    ],
)
def test_the_pipeline_trains_what_the_arms_evaluate(run, monkeypatch, arms, trainings):
    seeds = "[3]" if "shuffled" in arms else "[]"
    changed = [f"evaluation.arms={arms}", f"scoring.shuffle={seeds}"]
    run.config = named_config("demo-paper", SETTINGS[:-2] + changed)
    done = []

    def noted(training: str) -> Rounds:
        done.append(training)
        return Rounds([], [], [], [])

    for name in ("train_sft", "train_rft", "train_pg", "train_controls", "run_rounds"):
        monkeypatch.setattr(
            f"jobs.pipeline.{name}", lambda *_, name=name: noted(name.split("_")[1])
        )
    monkeypatch.setattr("jobs.pipeline.collect_tasks", lambda _: {"train": []})
    monkeypatch.setattr("jobs.pipeline.collect_seeds", lambda *_: Seeds([], {}, 0, 0, None))
    monkeypatch.setattr("jobs.pipeline.evaluate", lambda *_: None)
    run.backend = SimpleNamespace(connect=lambda: None)
    run.tracker, run.probe_endpoints = None, lambda: None
    run_pipeline(run)
    assert done == trainings


def test_without_tasks_to_match_the_teacher_on_nothing_is_trained(run, monkeypatch):
    changed = ["planner.match_teacher=true", "validation=0"]
    run.config = named_config("demo-paper", SETTINGS[:-2] + changed)
    monkeypatch.setattr("jobs.pipeline.collect_tasks", lambda _: {"train": []})
    monkeypatch.setattr("jobs.pipeline.train_sft", lambda *_: pytest.fail("SFT was trained"))
    run.backend = SimpleNamespace(connect=lambda: None)
    run.tracker, run.probe_endpoints = None, lambda: None
    with pytest.raises(InputError, match="no task to measure on"):
        run_pipeline(run)
