"""What MLflow is told of a run: its source, its figures by name, its description, its episodes."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.configs import named_config
from jobs.pipeline import run_pipeline
from jobs.run import Run
from jobs.tracked import LONGEST_DESCRIPTION, description, metrics_of
from mpo_core.tracking import about
from mpo_core.tracking.pace import Pace
from mpo_core.tracking.traces import spans_of, trace_info, trace_of
from mpo_core.types import Message
from tests.doors import Kept, config, open_doors
from tests.reported import results, summary
from tests.viewed_run import TASKS, episode

HOSTILE = "</td>|<script>alert(1)</script>[x](javascript:alert(1))`*_\x1b[31m\u202e\ud800\n# x"


def found(arms: dict[str, float], **changes) -> dict:
    both = [one for arm, reward in arms.items() for one in results("a", arm, {"t": reward})]
    return summary(both, tokens_per_s=1.0, env_steps_per_s=1.0, **changes)


def test_metrics_are_the_arms_means_and_what_trained_planners_gain():
    told = found({"none": 0.25, "sft": 0.5, "mpo": 0.75, "oracle": 1.0})
    assert metrics_of(told) == {
        "mean_reward/none": 0.25,
        "mean_reward/sft": 0.5,
        "mean_reward/mpo": 0.75,
        "mean_reward/oracle": 1.0,
        "minus_sft/mpo": 0.25,
    }


def test_where_there_are_several_places_metrics_are_by_place_too():
    told = summary(
        [
            one
            for env, gain in (("a", 0.25), ("b", 0.5))
            for arm, reward in (("sft", 0.5), ("mpo", 0.5 + gain))
            for one in results(env, arm, {"t": reward})
        ]
    )
    metrics = metrics_of(told)
    assert metrics["mean_reward/mpo"] == 0.875
    assert metrics["b/seen/mean_reward/mpo"] == 1.0
    assert (metrics["a/seen/minus_sft/mpo"], metrics["b/seen/minus_sft/mpo"]) == (0.25, 0.5)


def test_a_description_is_tables_whatever_names_hold():
    told = description(found({"none": 0.25, HOSTILE: 0.75}))
    header, ruler, *rows = told.split("\n\n")[0].splitlines()
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in (header, ruler, *rows)]
    assert len(rows) == 2 and len(set(cells)) == 1
    assert "<" not in told and not set(told) & set("\x1b\u202e\ud800")
    assert not re.search(r"(?<!\\)[\[\]*_#]", told.replace("`report/index.html`", ""))


def test_a_long_description_keeps_its_first_table():
    told = found({f"arm-{n}": 0.5 for n in range(60)})
    whole = description(told | {"sampled": told})
    assert (len(whole) <= LONGEST_DESCRIPTION + 500 and "arm\\-59" in whole) or "arm-59" in whole
    assert "Sampled" not in whole


def test_a_source_is_the_command_the_commit_the_user_and_the_place(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/mpo", "run", "runs/mine", "seed=1"])
    monkeypatch.setattr(about, "_module", lambda: "")
    for name in ("SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)
    tags = about.source_tags()
    assert (tags["mlflow.source.name"], tags["mpo.command"]) == (
        "mpo run mine",
        "mpo run runs/mine seed=1",
    )
    assert tags["mlflow.user"] and tags["mpo.place"] == "local"
    here = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tags.get("mlflow.source.git.commit", "") == here.stdout.strip()


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("SLURM_JOB_ID", "slurm"),
        ("KUBERNETES_SERVICE_HOST", "k8s"),
        ("RAY_JOB_CONFIG_JSON_ENV_VAR", "ray"),
    ],
)
def test_a_place_is_known_by_what_its_launcher_leaves(monkeypatch, variable, place):
    for name in ("SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "1")
    assert about.place() == place


def test_neither_passwords_nor_headers_are_logged(monkeypatch):
    address = "http://me:secret@host:5000/v1"
    monkeypatch.setattr("sys.argv", ["mpo", "run", "demo", f"tracking.uri={address}"])
    given = [
        f"tracking.uri={address}",
        f"models.m={{endpoint: '{address}', extra_headers: {{X-Key: secret}}}}",
    ]
    params = about.params_of(named_config("demo-llm", given, unused_models=True))
    assert params["tracking.uri"] == "http://***@host:5000/v1"
    assert "secret" not in json.dumps(params) + about.command()


def test_planners_that_are_not_trained_are_not_registered(tmp_path, monkeypatch):
    open_doors(monkeypatch)
    with Run(config(tmp_path)) as run:
        run.tracker = kept = Kept()
        run_pipeline(run)
    assert kept.planners == []


texts = st.text(max_size=30) | st.just(HOSTILE)
roles = st.sampled_from(["user", "assistant"])
messages = st.lists(st.fixed_dictionaries({"role": roles, "content": texts}), max_size=12)


@given(messages, st.integers(0, 5))
def test_an_episodes_trace_has_a_span_a_turn_and_no_text_in_it_has_an_effect(
    said: list[Message], turns: int
):
    whole = episode(0, observation=HOSTILE)
    changes = {"plan": HOSTILE, "messages": said, "turns": list(whole.turns * 3)[:turns]}
    played = whole.model_copy(update=changes)
    trace = trace_of("run", "scoring", played, TASKS[0], asked=said, origin=HOSTILE)
    text = json.dumps(trace, ensure_ascii=False)
    text.encode()
    assert not set(text) & set("\x1b\u202e")
    assert len(trace["turns"]) == turns
    spans = spans_of(trace, at_ms=1_000_000)
    assert len({span.span_id for span in spans}) == len(spans) == 2 + turns
    again = spans_of(trace_of("run", "scoring", played, TASKS[0], asked=said, origin=HOSTILE), 1)
    assert [span.span_id for span in again] == [span.span_id for span in spans]
    ends = [span.end_time_ns for span in spans]
    assert max(ends) == ends[0] == 1_000_000 * 1_000_000
    info = trace_info(trace, 1_000_000, "1", "run-id")
    assert len({one.assessment_id for one in info.assessments}) == 2


def test_curves_of_episodes_count_those_of_before_and_end_with_the_last(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("mpo_core.tracking.pace.time.monotonic", lambda: now[0])
    kept = Kept()
    with Pace(kept, [1.0, 0.0]) as pace:
        for number in range(5):
            now[0] += 2
            pace.episode(episode(number).model_copy(update={"cached_tokens": 50 + number // 2}))
    curves = {name: points for (_, name), points in kept.metrics.items()}
    assert curves["episodes"] == {5: 5, 7: 7}
    assert curves["mean_reward_so_far"] == {5: 4 / 5, 7: 6 / 7}
    assert curves["tokens_per_s"] == {5: 30 / 6, 7: 20 / 4}
    assert curves["env_steps_per_s"] == {5: 6 / 6, 7: 4 / 4}
    assert curves["cache_hit_rate"] == {5: 151 / 303, 7: 103 / 207}


def test_an_engine_that_says_nothing_of_its_cache_has_no_rate():
    kept = Kept()
    with Pace(kept, []) as pace:
        pace.episode(episode(0))
    assert {name for _, name in kept.metrics} == {
        "episodes",
        "mean_reward_so_far",
        "tokens_per_s",
        "env_steps_per_s",
    }
