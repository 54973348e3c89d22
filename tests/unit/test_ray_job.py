import pytest

from cluster.address import DEFAULT_DASHBOARD
from cluster.ray_job import ray_job, submit_and_follow
from jobs.configs import named_config
from mpo_core.errors import InputError
from tests.ray_dashboard import Dashboard


def job(home, source="demo-llm", *overrides, environment=None):
    overrides = [f"runs_dir={home / 'runs'}", f"launch.ray.working_dir={home}", *overrides]
    return ray_job(named_config(source, overrides), source, overrides, None, environment or {})


def test_a_job_runs_the_pipeline_and_keeps_its_runs_where_they_last(tmp_path):
    found = job(tmp_path)
    assert found.address.text == DEFAULT_DASHBOARD
    assert found.entrypoint.startswith("python -m jobs.pipeline demo-llm ")
    assert found.entrypoint.endswith(f"runs_dir={tmp_path / 'runs'}")
    assert found.runtime_env["working_dir"] == str(tmp_path)
    assert "/runs/" in found.runtime_env["excludes"]


def test_only_named_variables_travel_and_none_is_shown(tmp_path):
    secrets = {"HF_TOKEN": "hf-secret", "AWS_SECRET_ACCESS_KEY": "aws-secret"}
    found = job(tmp_path, environment=secrets)
    assert found.runtime_env["env_vars"] == {"HF_TOKEN": "hf-secret"}
    assert "HF_TOKEN" in str(found)
    assert "secret" not in str(found)


ENDPOINTS = [
    "models.llm={endpoint: https://api.example/v1, api_key_env: TOGETHER_API_KEY}",
    "models.big={endpoint: https://big.example/v1, api_key_env: BIG_API_KEY}",
    "agent.model=llm",
    "seeds.teacher=big",
    "launch.ray.env_vars=[MINE]",
]


def test_the_keys_and_logins_that_the_config_names_travel_and_none_is_shown(tmp_path):
    secrets = {
        "MINE": "secret-0",
        "TOGETHER_API_KEY": "secret-1",
        "BIG_API_KEY": "secret-2",
        "HF_TOKEN": "secret-3",
        "MLFLOW_TRACKING_URI": "https://me:secret-4@mlflow.example",
        "MLFLOW_TRACKING_USERNAME": "secret-5",
        "MLFLOW_TRACKING_PASSWORD": "secret-6",
        "MLFLOW_TRACKING_TOKEN": "secret-7",
    }
    others = {"AWS_SECRET_ACCESS_KEY": "secret-8", "OPENAI_API_KEY": "secret-9"}
    found = job(tmp_path, "demo-llm", *ENDPOINTS, environment=secrets | others)
    assert found.runtime_env["env_vars"] == secrets
    assert all(name in str(found) for name in secrets)
    assert "secret" not in str(found)


def test_a_key_that_is_not_set_here_is_named(tmp_path):
    found = job(tmp_path, "demo-llm", *ENDPOINTS, environment={"TOGETHER_API_KEY": "x"})
    assert "not set here BIG_API_KEY (models.big.api_key_env)" in str(found)


def test_a_password_in_a_url_is_not_shown(tmp_path):
    found = job(tmp_path, "demo-llm", "tracking.uri=https://me:secret@mlflow.example/x")
    assert "https://me:secret@mlflow.example/x" in found.entrypoint
    assert "https://***@mlflow.example/x" in str(found) and "secret" not in str(found)


def test_a_job_goes_to_the_address_given_and_nothing_to_the_environments(tmp_path, monkeypatch):
    with Dashboard() as there, Dashboard() as elsewhere:
        monkeypatch.setenv("RAY_ADDRESS", elsewhere.url)
        overrides = [f"runs_dir={tmp_path / 'runs'}", f"launch.ray.working_dir={tmp_path}"]
        (tmp_path / "code.py").write_text("print(1)")
        given = ray_job(named_config("demo-llm", overrides), "demo-llm", overrides, there.url)
        said: list[str] = []
        assert submit_and_follow(given, said.append, lambda: False) == 0
        assert "POST /api/jobs/" in there.asked
        assert any(request.startswith("PUT /api/packages/") for request in there.asked)
        assert elsewhere.asked == []
        assert said == [f"job job-1 at {there.url}", "job job-1: SUCCEEDED"]


def test_a_config_in_the_working_directory_is_named_as_the_job_sees_it(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.yaml").write_text(named_config_text())
    found = job(tmp_path, str(tmp_path / "configs" / "mine.yaml"))
    assert found.entrypoint.startswith("python -m jobs.pipeline configs/mine.yaml ")


def test_a_config_that_the_job_would_not_see_is_refused(tmp_path):
    outside, home = tmp_path / "mine.yaml", tmp_path / "home"
    outside.write_text(named_config_text())
    home.mkdir()
    with pytest.raises(InputError, match=r"launch\.ray\.working_dir"):
        job(home, str(outside))


def test_a_run_is_continued_from_its_folder(tmp_path):
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(named_config_text())
    found = job(tmp_path, str(run))
    assert found.entrypoint.startswith(f"python -m jobs.pipeline {run} ")


def named_config_text() -> str:
    from jobs.configs import PRESETS

    return (PRESETS / "demo-llm.yaml").read_text()
