"""The evaluation's arms on a toy environment: one plan a task, sampled plans, and teachers'."""

import json
import logging
from types import SimpleNamespace

import pytest

from jobs.arms import arms_played, planners, plans_a_task
from jobs.evaluate import evaluate
from jobs.pipeline import run_pipeline
from jobs.run import Run
from jobs.tasks import collect_tasks
from jobs.tracked import metrics_of
from mpo_core.config import TrackingConfig
from mpo_core.errors import InputError
from mpo_core.ledger import read_records
from mpo_core.report.merge import report_runs
from mpo_core.run_folder import RunFolder
from mpo_core.types import Episode, Plan, TaskResult, content_hash
from tests.doors import Kept, config, open_doors

KNOCK, ENTER = "Step 1: Knock.\nStep 2: Wait.", "Step 1: Knock.\nStep 2: Enter."
ARMS = ["none", "base", "teacher", "oracle", "expert"]


def planner(messages: list[dict], seed: int) -> str:
    """Greedy, the plan that solves nothing; sampled, mostly the one that solves all."""
    return ENTER if seed % 4 else KNOCK


def teacher(messages: list[dict], seed: int) -> str:
    assert "> enter" in messages[-1]["content"], "it sees what the expert did"
    return planner(messages, seed)


def agent(messages: list[dict], seed: int) -> str:
    """Does what its plan says, and enters of itself only where there is no plan and it is lucky."""
    told = " ".join(message["content"] for message in messages)
    said = sum(message["role"] == "assistant" for message in messages)
    if "Step 2: Enter." in told:
        return f"Action: {['knock', 'enter'][min(said, 1)]}"
    return "Action: knock" if "Step 1: Knock." in told else "Action: look"


ROLES = ("planner", "agent", "teacher")


def settings(folder, **changes):
    evaluation = {"splits": ["unseen"], "arms": ARMS, "bootstrap": 50} | changes
    models = {role: {"scripted": f"tests.unit.test_arms:{role}"} for role in ROLES}
    return config(folder, evaluation=evaluation, models=models, seeds={"teacher": "teacher"})


@pytest.fixture(autouse=True)
def doors(monkeypatch):
    open_doors(monkeypatch)
    monkeypatch.setattr("mpo_core.teacher.abstract", lambda suite, task, actions, beginning: ENTER)


def evaluated(asked) -> dict:
    with Run(asked) as run:
        run.tracker = Kept()
        return evaluate(run, collect_tasks(run))


def results(asked) -> dict[tuple[str, bool], list[TaskResult]]:
    found = {}
    for result in read_records(asked.run_dir / "report" / "results.jsonl", TaskResult):
        found.setdefault((result.arm, result.sampled), []).append(result)
    return found


def plans(asked, name: str) -> list[Plan]:
    return read_records(asked.run_dir / "plans" / name, Plan)


@pytest.mark.slow
def test_every_planner_is_measured_by_its_greedy_plan_and_by_the_mean_over_its_samples(tmp_path):
    asked = settings(tmp_path, plan_samples=6, repetitions=2)
    summary = evaluated(asked)
    drawn = plans(asked, "sampled/base-unseen.jsonl")
    assert [plan.sample for plan in drawn] == [*range(6), *range(6)]
    assert len(plans(asked, "base-unseen.jsonl")) == 2
    found = results(asked)
    assert {key for key in found if key[1]} == {("base", True), ("teacher", True)}
    for result in found["base", True]:
        # Plans of the same text count as often as they were drawn.
        texts = [plan.text for plan in drawn if plan.task_id == result.task_id]
        assert len(set(texts)) == 2
        assert result.reward == pytest.approx(sum(0.5 + 0.5 * (t == ENTER) for t in texts) / 6)
        assert result.n_episodes == 12
    assert [result.reward for result in found["base", False]] == [0.5, 0.5]
    assert [row["mean_reward"] for row in summary["table"] if row["arm"] == "base"] == [0.5]
    [base, _] = summary["sampled"]["table"]
    assert base["mean_reward"] == summary["sampled"]["arms"]["base"]["mean_reward"] > 0.5
    against = {row["arm_a"]: row["diff"] for row in summary["sampled"]["paired"]}
    assert against.keys() == {"none", "teacher", "oracle", "expert"}
    assert against["none"] == pytest.approx(-base["mean_reward"], abs=1e-6)
    metrics = metrics_of(summary)
    assert metrics["sampled/mean_reward/base"] == base["mean_reward"]
    assert metrics["mean_reward/base"] == 0.5
    assert not any("minus" in name for name in metrics), "no planner was trained"


def test_without_samples_the_report_holds_nothing_of_them(tmp_path):
    asked = settings(tmp_path)
    assert "sampled" not in evaluated(asked)
    assert not (asked.run_dir / "plans" / "sampled").exists()
    page = (asked.run_dir / "report" / "report.md").read_text()
    assert "sampled" not in page.lower()


@pytest.mark.slow
def test_an_evaluation_goes_on_where_it_was_and_more_samples_are_only_added(tmp_path):
    few, more = (settings(tmp_path, plan_samples=count) for count in (2, 5))
    evaluated(few)
    files = ("plans/sampled/base-unseen.jsonl", "plans/seeds-unseen.jsonl")
    before = {name: (few.run_dir / name).read_bytes() for name in files}
    played = (few.run_dir / "episodes" / "evaluation.jsonl").read_bytes()
    evaluated(few)
    assert (few.run_dir / "episodes" / "evaluation.jsonl").read_bytes() == played
    evaluated(more)
    for name, text in before.items():
        grown = (more.run_dir / name).read_bytes()
        assert grown.startswith(text) and len(grown) > len(text)
    assert len(plans(more, "sampled/base-unseen.jsonl")) == 10
    assert {r.n_episodes for r in results(more)["base", True]} == {5}
    # Fewer again count only theirs.
    assert evaluated(few)["sampled"]["arms"]["base"]["n_episodes"] == 4


def test_later_samples_are_drawn_with_seeds_of_their_own(tmp_path):
    seeds: dict[str, list[int]] = {}

    def noted(messages, seed):
        seeds.setdefault(content_hash(messages), []).append(seed)
        return ENTER

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.unit.test_arms.planner", noted)
        for count in (2, 4):
            evaluated(settings(tmp_path, plan_samples=count, arms=["base"]))
    for drawn in seeds.values():
        assert len(set(drawn)) == len(drawn) == 1 + 4


def test_a_teacher_and_an_oracle_plan_for_the_very_task_from_the_experts_episode(tmp_path):
    asked = settings(tmp_path, plan_samples=3)
    summary = evaluated(asked)
    rows = {row["arm"]: row for row in summary["table"]}
    assert rows["oracle"]["mean_reward"] == rows["expert"]["mean_reward"] == 1
    written = plans(asked, "seeds-unseen.jsonl")
    by_model = [plan for plan in written if plan.origin != "rules-1"]
    assert [plan.sample for plan in by_model] == [0, 1, 2] * 2
    first = [0.5 + 0.5 * (plan.text == ENTER) for plan in by_model if plan.sample == 0]
    assert [result.reward for result in results(asked)["teacher", False]] == first
    assert {result.n_episodes for result in results(asked)["teacher", True]} == {3}
    # The expert plays each task once for all three arms.
    episodes = read_records(asked.run_dir / "episodes" / "evaluation.jsonl", Episode)
    assert sum(episode.model == "expert" for episode in episodes) == 2


def test_what_a_teacher_can_make_no_plan_of_stops_the_run_before_its_work(tmp_path, monkeypatch):
    def only_one(suite, task, actions, beginning):
        return ENTER if task.id.endswith("20") else None

    monkeypatch.setattr("mpo_core.teacher.abstract", only_one)
    asked = settings(tmp_path).model_copy(update={"tracking": TrackingConfig(enabled=False)})
    says = r"oracle: 1 of the 2 unseen tasks gave no plan, the first toy/door/21: no rule fits"
    with pytest.raises(InputError, match=says), Run(asked) as run:
        run_pipeline(run)
    assert not (asked.run_dir / "plans" / "base-train.jsonl").exists()


@pytest.mark.parametrize(("samples", "expected"), [(0, [1, 1, 1, 1, 1]), (4, [1, 5, 5, 1, 1])])
def test_the_work_ahead_counts_the_plans_of_every_arm(tmp_path, samples, expected):
    with Run(settings(tmp_path, plan_samples=samples)) as run:
        assert [plans_a_task(run, arm) for arm in ARMS] == expected


def test_an_arm_of_several_planners_is_their_mean(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.arms.planners", lambda run, arm: ["base", "base"])
    asked = settings(tmp_path, arms=["base"], plan_samples=2)
    evaluated(asked)
    counts = {key: {r.n_episodes for r in found} for key, found in results(asked).items()}
    assert counts == {("base", False): {2}, ("base", True): {4}}


@pytest.mark.parametrize(
    ("outcomes", "played"),
    [
        ([], ["none", "mpo", "mpo-1", "mpo-2", "mpo-3"]),
        ([("mpo", 5), ("mpo-2", 4)], ["none", "mpo", "mpo-1", "mpo-2"]),
        ([("mpo", 5), ("mpo-2", 0)], ["none", "mpo", "mpo-1"]),
    ],
)
def test_the_arms_of_rounds_are_those_that_trained_a_planner(tmp_path, outcomes, played):
    arms = ["none", "mpo", "mpo-1", "mpo-2", "mpo-3"]
    asked = config(
        tmp_path,
        models={"planner": {"source": "a/model"}, "agent": {"scripted": "tests.scripted:agent"}},
        evaluation={"arms": arms},
        rounds=3,
        cluster={},
    )
    run = SimpleNamespace(config=asked, files=RunFolder(tmp_path))
    if outcomes:
        rounds = [{"planner": version, "pairs": n, "kept": True} for version, n in outcomes]
        (tmp_path / "rounds.json").write_text(json.dumps(rounds))
    assert arms_played(run) == played
    assert [planners(run, arm) for arm in ("none", "mpo-1", "mpo-3")] == [[], ["mpo"], ["mpo-3"]]


def test_the_arm_of_a_round_that_did_not_come_is_left_out_and_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("jobs.evaluate.arms_played", lambda run: ["none", "base"])
    with caplog.at_level(logging.WARNING):
        summary = evaluated(settings(tmp_path, arms=["none", "base", "expert"]))
    assert list(summary["arms"]) == ["none", "base"]
    assert "expert is left out: its round trained no planner" in caplog.text


@pytest.mark.slow
def test_seeds_are_merged_with_their_sampled_plans(tmp_path):
    runs = []
    for seed in (1, 2):
        asked = settings(tmp_path / str(seed), plan_samples=3)
        asked.seed = seed
        evaluated(asked)
        runs.append(asked.run_dir)
    folder, summary = report_runs(runs, tmp_path / "all")
    rows = [(row["arm"], row["seed"]) for row in summary["sampled"]["table"]]
    assert rows == [(arm, seed) for arm in ("base", "teacher") for seed in (1, 2, None)]
    assert {row["n_seeds"] for row in summary["sampled"]["paired"]} == {2}
    assert "## Each seed, sampled plans" in (folder / "report.md").read_text()
    again = report_runs(runs[:1], None)[1]
    assert again["sampled"]["arms"].keys() == {"base", "teacher"}
