import pytest

from cluster.ray_job import DEFAULT_ADDRESS, ray_job
from jobs.configs import named_config
from mpo_core.errors import InputError


def job(home, source="demo", *overrides, environment=None):
    overrides = [f"runs_dir={home / 'runs'}", f"launch.ray.working_dir={home}", *overrides]
    return ray_job(named_config(source, overrides), source, overrides, None, environment or {})


def test_a_job_runs_the_pipeline_and_keeps_its_runs_where_they_last(tmp_path):
    found = job(tmp_path)
    assert found.address == DEFAULT_ADDRESS
    assert found.entrypoint.startswith("python -m jobs.pipeline demo ")
    assert found.entrypoint.endswith(f"runs_dir={tmp_path / 'runs'}")
    assert found.runtime_env["working_dir"] == str(tmp_path)
    assert "/runs/" in found.runtime_env["excludes"]


def test_only_named_variables_travel_and_none_is_shown(tmp_path):
    secrets = {"HF_TOKEN": "hf-secret", "AWS_SECRET_ACCESS_KEY": "aws-secret"}
    found = job(tmp_path, environment=secrets)
    assert found.runtime_env["env_vars"] == {"HF_TOKEN": "hf-secret"}
    assert "HF_TOKEN" in str(found)
    assert "secret" not in str(found)


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

    return (PRESETS / "demo.yaml").read_text()
