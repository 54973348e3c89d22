"""`mpo sandbox build` with trainings of no time: where the models end up, whatever happens."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import jobs.sandbox
from jobs.sandbox import BUILDING, build, check
from mpo_core.builtin_models import SHIPPED
from mpo_core.errors import InputError
from mpo_core.locks import locked
from mpo_core.sandbox import folder, planner, planner_vocabulary, train, vocabulary
from mpo_core.sandbox.gate import gate
from mpo_core.sandbox.llama import Llama, Shape
from mpo_core.sandbox.train import Standing

MADE = {"agent", "planner"}


def small(words: int) -> Llama:
    torch.manual_seed(0)
    return Llama(Shape(words, width=16, layers=1, heads=2, feedforward=32, context=512)).eval()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which models were trained."""
    done: list[str] = []

    def training(name: str, words: int) -> Callable:
        def train(_, watch):
            done.append(name)
            watch(Standing(done=1))
            return small(words)

        return train

    monkeypatch.setattr(train, "train", training("agent", len(vocabulary.words())))
    monkeypatch.setattr(
        planner, "train_planner", training("planner", len(planner_vocabulary.words()))
    )
    return done


def built(out: Path, **settings) -> list[str]:
    said: list[str] = []
    given = {"minutes": 1.0, "planner_minutes": 1.0, "seed": 0, "held_out": 2} | settings
    assert not build(out, say=said.append, **given)
    assert {path.name for path in out.iterdir()} == MADE
    return said


def test_the_models_stand_in_an_empty_folder_that_is_a_link(trained, tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    built(tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert {path.name for path in (tmp_path / "disk").iterdir()} == MADE


def test_a_link_that_leads_nowhere_and_a_file_above_are_bad_input(trained, tmp_path: Path):
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "file").touch()
    for out in (tmp_path / "nowhere", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="use another folder"):
            build(out, minutes=1, planner_minutes=1, seed=0, held_out=2, say=print)
    assert trained == []


def test_a_build_that_was_stopped_goes_on_with_its_agent(trained, tmp_path: Path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs.sandbox, "_build_planner", stopped)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "out", minutes=1, planner_minutes=1, seed=0, held_out=2, say=print)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [BUILDING]
    (tmp_path / "out" / BUILDING / "planner").mkdir()
    shutil.copytree(tmp_path / "out", tmp_path / "other")
    built(tmp_path / "out")
    assert trained == ["agent", "planner"]
    built(tmp_path / "other", seed=1)
    assert trained == ["agent", "planner"] * 2


def test_an_agent_that_was_half_written_is_trained_again(trained, tmp_path: Path):
    half = tmp_path / "out" / BUILDING / "agent"
    folder.write(small(len(vocabulary.words())), half, "")
    built(tmp_path / "out")
    assert trained == ["agent", "planner"]


def test_two_builds_in_one_folder_are_not_both_let_in(trained, tmp_path: Path):
    file = os.open(tmp_path, os.O_RDONLY)
    with (
        locked(file, tmp_path),
        pytest.raises(InputError, match="another process builds there"),
    ):
        build(tmp_path, minutes=1, planner_minutes=1, seed=0, held_out=2, say=print)
    os.close(file)
    assert trained == []
    assert not any(tmp_path.iterdir())


def test_what_was_there_stays(trained, tmp_path: Path):
    (tmp_path / "notes").touch()
    with pytest.raises(InputError, match="new or empty folder"):
        build(tmp_path, minutes=1, planner_minutes=1, seed=0, held_out=2, say=print)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


@pytest.mark.parametrize(
    "configuration", ["[]", "{}", "null", '{"vocab_size": null}', '{"num_attention_heads": 0}']
)
def test_a_folder_with_another_configuration_holds_no_model(tmp_path: Path, configuration: str):
    folder.write(small(9), tmp_path, "")
    (tmp_path / "config.json").write_text(configuration)
    with pytest.raises(InputError, match="not a model of the sandbox"):
        folder.load(tmp_path)


def test_a_planner_is_no_agent_that_fails_its_gate(tmp_path: Path):
    folder.write(small(len(planner_vocabulary.words())), tmp_path, "")
    with pytest.raises(InputError, match="not an agent of the sandbox"):
        gate(tmp_path, 2)


def test_what_is_asked_for_is_looked_at_before_what_is_slow(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # Whoever imports it fails.
    shipped = SHIPPED["sandbox-agent"]
    for place, held_out, says in (
        (shipped, tmp_path / "none", "no such folder"),
        (tmp_path, 9, "no agent there; make one with `mpo sandbox build`"),
    ):
        with pytest.raises(InputError, match=says):
            check(place, held_out, print)
    with pytest.raises(InputError, match="no such folder"):
        build(
            tmp_path / "out",
            minutes=1,
            planner_minutes=1,
            seed=0,
            held_out=tmp_path / "none",
            say=print,
        )
    assert not (tmp_path / "out").exists()
