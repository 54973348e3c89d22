"""`scoring.repetitions: auto` in a run: what is played, taken up again, counted and reported."""

from collections import Counter
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.evaluate import evaluate
from jobs.pairs import collect_pairs
from jobs.plans import collect_plans, load_plans
from jobs.rollout import collect_scores
from jobs.run import Run
from jobs.sweep import begin_with_copy
from jobs.tasks import collect_tasks, load_tasks
from jobs.tracked import counts_of
from mpo_core.config import Config, load_config, save_config
from mpo_core.errors import InputError
from mpo_core.ledger import read_records
from mpo_core.pairs import RULES, half_turned
from mpo_core.report.merge import read_report
from mpo_core.report.page import markdown
from mpo_core.report.spending import spending, spending_rows, spending_words, spent_together
from mpo_core.types import Episode, PlanScore
from tests.doors import config as house
from tests.doors import open_doors
from tests.fakes import episode, request
from tests.small_run import write_config

SCORING = {"repetitions": "auto", "mean_repetitions": 3.2, "max_repetitions": 6}


@pytest.fixture(autouse=True)
def doors(monkeypatch):
    open_doors(monkeypatch)


def config(folder: Path, **changes) -> Config:
    own = {
        "models": {
            "planner": {"scripted": "tests.scripted:planner"},
            "agent": {"scripted": "tests.scripted:visitor"},
        },
        "planner": {"model": "planner", "per_task": 5},
        "scoring": SCORING,
        "tracking": {"enabled": False},
    }
    return house(folder, **own | changes)


def scores(asked: Config) -> list[PlanScore]:
    with Run(asked) as run:
        tasks = collect_tasks(run)["train"]
        return collect_scores(run, tasks, collect_plans(run, "base", "train", tasks))


def ledger(asked: Config) -> Path:
    return asked.run_dir / "episodes" / "scoring.jsonl"


def test_a_plan_is_played_once_and_again_as_far_as_the_total_goes(tmp_path):
    found = scores(config(tmp_path))
    played = read_records(ledger(config(tmp_path)), Episode)
    assert sum(score.n for score in found) == len(played) == 32
    assert len({score.n for score in found}) > 1
    assert Counter(e.plan_id for e in played) == {s.plan_id: s.n for s in found}
    for score in found:
        of_plan = [e for e in played if e.plan_id == score.plan_id]
        assert {e.repetition for e in of_plan} == set(range(score.n))
        assert sorted(score.rewards) == sorted(e.reward for e in of_plan)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0, 7, 19, 20, 21, 31])
def test_an_interrupted_scoring_goes_on_to_the_same_episodes(tmp_path, kept):
    """Cut within the first batch of 20, between the two, and within the second."""
    asked = config(tmp_path)
    whole, lines = scores(asked), ledger(asked).read_bytes().splitlines(keepends=True)
    ledger(asked).write_bytes(b"".join(lines[:kept]) + lines[kept][:9])
    assert scores(asked) == whole
    again = read_records(ledger(asked), Episode)
    assert {e.key for e in again} == {e.key for e in map(Episode.model_validate_json, lines)}


@pytest.mark.slow
def test_scores_of_different_numbers_of_attempts_are_paired_and_exchanged(tmp_path):
    scored = config(tmp_path)
    found = scores(scored)
    for rule in RULES:
        asked = config(tmp_path / rule, pairs={"rule": rule, "level": 0.4})
        begin_with_copy(scored.run_dir, asked.run_dir)
        with Run(asked) as run:
            tasks = load_tasks(run, "train")
            plans = load_plans(run, "base", "train", tasks)
            pairs = collect_pairs(run, tasks, plans, found)
            turned = half_turned(pairs, tasks, seed=0)
        for pair in pairs:
            assert {pair.chosen_score, pair.rejected_score} <= set(found)
            assert pair.chosen_score.mean > pair.rejected_score.mean
        for pair, mixed in zip(pairs, turned, strict=True):
            # Each plan keeps its own score, whatever that rests on.
            assert {mixed.chosen_score, mixed.rejected_score} == {
                pair.chosen_score,
                pair.rejected_score,
            }
        exchanged = sum(mixed != pair for pair, mixed in zip(pairs, turned, strict=True))
        assert exchanged in (len(pairs) // 2, -(-len(pairs) // 2))


@pytest.mark.slow
def test_the_report_says_what_was_spent_and_saved(tmp_path):
    asked = config(tmp_path)
    found = scores(asked)
    with Run(asked) as run:
        summary = evaluate(run, collect_tasks(run))
    spent = summary["spending"]
    uniform = 6 * len(found)
    assert (spent["plans"], spent["episodes"], spent["uniform"]) == (len(found), 32, uniform)
    assert spent["saved"] == uniform - 32
    assert {int(n): k for n, k in spent["attempts"].items()} == Counter(s.n for s in found)
    assert read_report(asked.run_dir).summary["spending"] == spent
    assert counts_of(summary)["mpo.scoring_saved"] == spent["saved"]
    page = (asked.run_dir / "report" / "report.md").read_text()
    assert spending_words(spent) in page
    assert f"{spent['saved']} ({spent['saved'] / uniform:.0%}) fewer than the {uniform}" in page


@pytest.mark.slow
def test_a_report_of_as_many_attempts_for_all_says_nothing_of_spending(tmp_path):
    asked = config(tmp_path, scoring={"repetitions": 1})
    scores(asked)
    with Run(asked) as run:
        summary = evaluate(run, collect_tasks(run))
    assert "spending" not in summary
    assert "Attempts of the scoring" not in markdown(summary)


def test_spending_of_several_runs_is_added_up():
    rewards = {"A": [0.0, 1.0], "B": [1.0], "C": [0.0, 0.0, 0.0]}
    episodes = [
        episode(request(plan=f"Step 1: {plan}.", repetition=k), reward)
        for plan, of_plan in rewards.items()
        for k, reward in enumerate(of_plan)
    ]
    one = spending(episodes, 4)
    other = spending(episodes[:1], 4)
    assert one | {"noise": 0} == {
        **{"plans": 3, "episodes": 6, "uniform": 12, "saved": 6, "noise": 0},
        **{"attempts": {"1": 1, "2": 1, "3": 1}},
    }
    assert other["noise"] is None
    both = spent_together([{"spending": one}, {"spending": other}, {}])
    assert (both["plans"], both["episodes"], both["uniform"], both["saved"]) == (4, 7, 16, 9)
    assert both["noise"] == one["noise"]
    assert spending_rows(both)[1:] == [
        ["1", "2", "50%", "2"],
        ["2", "1", "25%", "2"],
        ["3", "1", "25%", "3"],
    ]
    assert spent_together([{}, {}]) == {}


@pytest.mark.parametrize(
    ("scoring", "says"),
    [
        ({"repetitions": 3}, "episodes   36 scoring"),
        ({"repetitions": "auto"}, "episodes   24 to 30 scoring (auto; 5 a plan would be 60)"),
        ({"repetitions": "auto", "mean_repetitions": 1}, "episodes   12 to 12 scoring"),
    ],
)
def test_a_dry_run_says_how_many_episodes_the_scoring_is(
    tmp_path, monkeypatch, capsys, scoring, says
):
    monkeypatch.undo()
    path = write_config(
        tmp_path,
        scoring=scoring,
        envs={"scienceworld": {"tasks": {"train": 4, "seen": 0, "unseen": 1}}},
        cluster={"enabled": False},
    )
    with pytest.raises(SystemExit) as stop:
        main(["run", str(path), "--dry-run"])
    assert not stop.value.code
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scoring", "says"),
    [
        ({"repetitions": 0}, "scoring.repetitions: expected a whole number above 0, or auto; f"),
        ({"repetitions": "some"}, "scoring.repetitions: expected .* or auto; found some"),
        ({"repetitions": True}, "scoring.repetitions: expected .* or auto; found true"),
        ({"repetitions": None}, "scoring.repetitions: expected .* or auto; found None"),
        ({"mean_repetitions": 3}, "scoring: mean_repetitions: only with repetitions: auto"),
        ({"max_repetitions": 3}, "scoring: max_repetitions: only with repetitions: auto"),
        (
            {"repetitions": "auto", "mean_repetitions": 6},
            "scoring: mean_repetitions 6 is more .* 5",
        ),
        ({"repetitions": "auto", "mean_repetitions": 0.5}, "scoring.mean_repetitions: .*1"),
        ({"repetitions": "auto", "max_repetitions": True}, "max_repetitions: expected a number"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(tmp_path, scoring, says):
    with pytest.raises(InputError, match=says) as caught:
        config(tmp_path, scoring=scoring)
    assert "\n" not in str(caught.value)
    assert "; scoring" not in str(caught.value), "the fault is told once"


@pytest.mark.parametrize("scoring", [{"repetitions": 3}, SCORING])
def test_the_saved_config_of_a_run_is_its_config(tmp_path, scoring):
    asked = config(tmp_path, scoring=scoring)
    save_config(asked, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == asked
