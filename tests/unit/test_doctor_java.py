import pytest

from jobs.configs import named_config
from jobs.doctor import examine
from mpo_core.envs.scienceworld.jvm import JAVA_OPTIONS, Jvm
from mpo_core.errors import InputError


@pytest.fixture(autouse=True)
def no_options(monkeypatch):
    for name in JAVA_OPTIONS:
        monkeypatch.delenv(name, raising=False)


def java(config=None):
    [check] = [check for check in examine(config) if check.name == "Java"]
    return check


@pytest.mark.parametrize("variable", ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"])
def test_javas_version_is_shown_whatever_options_it_picks_up(monkeypatch, variable):
    monkeypatch.setenv(variable, "-Xmx1g")
    check = java()
    assert check.status == "ok" and " version " in check.found and "Picked" not in check.found


def test_options_that_java_does_not_take_are_named(monkeypatch):
    monkeypatch.setenv("_JAVA_OPTIONS", "-Xbogus")
    check = java()
    assert check.status == "fault" and "-Xbogus" in check.found
    assert check.remedy == "mend or unset _JAVA_OPTIONS"


@pytest.mark.slow
def test_the_configs_own_java_is_looked_at(tmp_path):
    config = named_config(
        "demo-llm", [f"envs.scienceworld.java={tmp_path}/none", f"runs_dir={tmp_path}"]
    )
    check = java(config)
    assert check.status == "fault" and "envs.scienceworld.java" in check.remedy


def test_the_simulator_names_the_options_that_java_does_not_take(monkeypatch):
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xbogus")
    with pytest.raises(InputError, match=r"-Xbogus.*; mend or unset JAVA_TOOL_OPTIONS$"):
        Jvm(1, 60)


def test_a_program_that_is_no_java_is_told_of_its_setting(tmp_path):
    (tmp_path / "java").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "java").chmod(0o755)
    with pytest.raises(InputError, match=r"\(exit status 1\); .* envs\.scienceworld\.java is Java"):
        Jvm(1, 60, tmp_path / "java")
