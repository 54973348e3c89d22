"""What the backend of one process cannot serve is one line, whatever is asked of it."""

import asyncio
import inspect
from pathlib import Path

import pytest

from cluster.backend import ClusterBackend
from jobs.configs import named_config
from mpo_core.backend import Backend
from mpo_core.errors import InputError
from mpo_core.local import LocalBackend
from mpo_core.rollout import Player
from mpo_core.training.settings import TrainingJob
from tests.fakes import PROMPTS

SETTINGS = ["models={llm: {scripted: 'tests.unit.test_local_backend:answer'}}"]
SETTINGS += ["planner.model=llm", "agent.model=llm", "cluster.enabled=false"]


def answer(messages: list, seed: int) -> str:
    return "Action: wait"


def backend() -> LocalBackend:
    return LocalBackend(named_config("endpoint", SETTINGS))


OFFERED = [name for name in vars(Backend) if not name.startswith("_")]


@pytest.mark.parametrize("name", OFFERED)
@pytest.mark.parametrize("made", [LocalBackend, ClusterBackend])
def test_both_backends_take_the_same_calls(made, name):
    def parameters(kind: type) -> list[tuple[str, object]]:
        asked = inspect.signature(getattr(kind, name)).parameters.values()
        return [(one.name, one.kind) for one in asked]

    assert parameters(made) == parameters(Backend)


def test_what_is_not_served_in_this_process_is_one_line(tmp_path):
    job = TrainingJob(
        tmp_path / "rows.jsonl", "model", tmp_path, tmp_path, named_config("demo").training, 0
    )
    for call in (
        lambda: backend().source("llm"),
        lambda: backend().trained_model("llm", Path("planner/mpo"), own_engine=True),
        lambda: backend().train(job, lambda row: None),
    ):
        with pytest.raises(InputError, match=r"cluster\.enabled: false") as raised:
            call()
        assert "\n" not in str(raised.value)


def test_a_scripted_model_answers_and_plays_in_this_process():
    model = backend().model("llm")
    assert model.fingerprint == backend().fingerprint("llm")
    assert model.name == "tests.unit.test_local_backend:answer"

    async def places() -> int:
        async with backend().players({}, {"toy": PROMPTS}, model) as (play, at_a_time):
            assert isinstance(play.__self__, Player)
            return at_a_time

    assert asyncio.run(places()) == backend()._config.cluster.episodes_in_flight
