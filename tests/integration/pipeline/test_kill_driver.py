"""The loop in one process, real environments and scripted models, killed and started again."""

import json
import random
import time
from pathlib import Path

import pytest

from mpo_core.ledger import read_records
from mpo_core.types import Episode
from tests.small_run import HERE, finish, start, write_config

UNTIMED = (
    "tasks",
    "arms",
    "table",
    "paired",
    "types",
    "plans",
    "episodes",
    "pairs",
    "envs",
    "models",
)


def config(folder: Path) -> Path:
    """Owed: 4 tasks x 3 plans x 2 repetitions, less repeated plan texts; and 4 tasks x 3 arms."""
    return write_config(folder, scoring={"repetitions": 2}, cluster=HERE)


def test_the_expert_is_the_upper_bound_in_both_environments(undisturbed):
    rows = undisturbed[0]["table"]
    assert {(row["env"], row["split"]) for row in rows} == {
        ("scienceworld", "unseen"),
        ("alfworld", "unseen"),
    }
    assert [row["mean_reward"] for row in rows if row["arm"] == "expert"] == [1.0, 1.0]
    assert all(row["mean_reward"] < 1 for row in rows if row["arm"] != "expert")


def results(runs_dir: Path) -> tuple[dict, dict[str, float]]:
    run = runs_dir / "small"
    summary = json.loads((run / "report" / "summary.json").read_text())
    episodes = [
        episode
        for name in ("scoring", "evaluation")
        for episode in read_records(run / "episodes" / f"{name}.jsonl", Episode)
    ]
    rewards = {episode.key: episode.reward for episode in episodes}
    assert len(rewards) == len(episodes), "an episode is in the ledger twice"
    return {name: summary[name] for name in UNTIMED}, rewards


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    finish(start(config(runs_dir)))
    return (*results(runs_dir), time.monotonic() - began, runs_dir)


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.long)])
def test_a_driver_killed_at_random_moments_ends_as_if_undisturbed(kills, undisturbed, tmp_path):
    summary, rewards, seconds, _ = undisturbed
    moments = random.Random(7)
    for _ in range(kills):
        process = start(config(tmp_path))
        # From the imports to the last stage; as the run gets on, later kills come after its end.
        time.sleep(moments.uniform(0.3, 1.0) * seconds * 0.8)
        process.kill()
        process.wait()
    finish(start(config(tmp_path)))
    summary_after, rewards_after = results(tmp_path)
    assert rewards_after == rewards
    assert summary_after == summary


def test_a_finished_run_started_again_plays_nothing(undisturbed):
    summary, *_, runs_dir = undisturbed
    ledger = runs_dir / "small" / "episodes" / "scoring.jsonl"
    before = ledger.read_bytes()
    finish(start(config(runs_dir)))
    assert ledger.read_bytes() == before
    assert results(runs_dir)[0] == summary
