"""Endpoint models on a real Ray cluster: planner, teacher and agent, the agent in the actors."""

import json

import yaml

from jobs.collect import collect_seeds
from jobs.configs import named_config
from jobs.pipeline import run_pipeline
from jobs.run import Run
from jobs.tasks import load_tasks
from mpo_core.ledger import read_records
from mpo_core.types import Episode
from tests.fake_server import Mode, fake_server
from tests.small_run import write_config


def test_planner_teacher_and_agent_at_endpoints_play_through_the_pool(tmp_path, monkeypatch):
    monkeypatch.setenv("GATE_KEY", "secret")
    mode = Mode(ignores=frozenset({"n"}), context=4096)
    with fake_server(mode) as server:
        model = {"endpoint": server.url, "api_key_env": "GATE_KEY", "retries": 1}
        path = write_config(
            tmp_path,
            models={"planner": model, "agent": model, "teacher": model},
            envs={
                "alfworld": {
                    "generated": {"train": 6, "seen": 0, "unseen": 6},
                    "tasks": {"train": 2, "seen": 0, "unseen": 2},
                }
            },
            seeds={"teacher": "teacher"},
            agent={"model": "agent", "max_steps": 3, "example": False},
            scoring={"repetitions": 2},
            tracking={"enabled": False},
        )
        assert yaml.safe_load(path.read_text()).get("cluster", {}).get("enabled", True)
        with Run(named_config(str(path))) as run:
            summary = run_pipeline(run)
            seeds = collect_seeds(run, load_tasks(run, "train"))
    assert len(seeds.plans) == 2 and not seeds.faults
    assert {headers["authorization"] for headers in server.seen_headers} == {"Bearer secret"}
    played = read_records(tmp_path / "small" / "episodes" / "scoring.jsonl", Episode)
    assert played and all(turn.action for episode in played for turn in episode.turns)
    assert {row["arm"] for row in summary["conduct"]} == {"scoring", "none", "base", "expert"}
    assert "secret" not in json.dumps(summary)
    for file in (tmp_path / "small").rglob("*"):
        if file.is_file():
            assert b"secret" not in file.read_bytes(), file
