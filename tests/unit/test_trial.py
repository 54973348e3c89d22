"""An environment tried: the expert's actions, and the same in other words."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import doctor
from jobs.cli import main
from jobs.configs import named_config
from mpo_core.checks import Check
from mpo_core.envs.alfworld import ALFWorld, ALFWorldConfig, Generated
from mpo_core.envs.alfworld.commands import PUTTINGS, plain, reworded
from mpo_core.envs.alfworld.games import TASK_TYPES
from mpo_core.envs.alfworld.generation import rooms
from mpo_core.envs.base import Step
from mpo_core.envs.trial import tried
from mpo_core.errors import InputError
from tests.fakes import Doors, ToyEnvironment

WORDS = st.from_regex(r"[a-z]{3,8} [1-9]", fullmatch=True)


class Reworded(Doors):
    """Doors whose actions have other words."""

    def __init__(self, words):
        self.words = words

    def wordings(self, actions):
        return {"in other words": self.words}


class Unsolved(ToyEnvironment):
    async def expert_actions(self, task):
        return ["knock", "look"]


class Lost(ToyEnvironment):
    async def step(self, action) -> Step:
        raise InputError("the engine does not start")


def played(suite, tmp_path, environment=ToyEnvironment) -> list[Check]:
    async def environments():
        return environment()

    suite.environment = environments
    return asyncio.run(tried(suite, tmp_path))


def test_what_the_experts_actions_earn_is_told(tmp_path):
    [check] = played(Doors(None), tmp_path)
    assert (check.name, check.status) == ("alfworld, expert's actions", "ok")
    assert check.found == "toy/door/0: 2 actions, reward 1.00"


@pytest.mark.parametrize(
    ("words", "status", "found"),
    [
        (["look", "enter"], "ok", "'look' is done as this game's own 'knock', reward 1.00"),
        (["bang", "enter"], "fault", "toy/door/0: 'bang' is not understood"),
        (["look", "knock"], "fault", "as this game's own 'knock', reward 0.50, not solved"),
    ],
)
def test_other_words_must_be_understood_and_solve_the_task_too(tmp_path, words, status, found):
    own, other = played(Reworded(words), tmp_path)
    assert own.status == "ok"
    assert (other.name, other.status) == ("alfworld, 'in other words'", status)
    assert found in other.found and bool(other.remedy) == (status == "fault")


@pytest.mark.parametrize(
    ("environment", "found"),
    [(Unsolved, "2 actions, reward 0.50, not solved"), (Lost, "the engine does not start")],
)
def test_an_environment_that_fails_is_a_fault_with_a_remedy(tmp_path, environment, found):
    [check] = played(Doors(None), tmp_path, environment)
    assert check.status == "fault" and found in check.found
    assert check.remedy.startswith("reinstall the environment's package; `mpo tasks alfworld`")


@given(WORDS, WORDS, st.sampled_from(PUTTINGS), st.sampled_from(PUTTINGS))
def test_putting_is_said_in_either_way_and_means_the_same(thing, place, one, other):
    said = one.replace("X", thing).replace("Y", place)
    assert reworded(said, one) == said
    assert reworded(reworded(said, other), one) == said
    assert plain(reworded(said, other)) == plain(said)
    walk = [f"go to {place}", f"take {thing} from {place}", said]
    [(name, words)] = ALFWorld().wordings(walk).items()
    assert name == next(putting for putting in PUTTINGS if putting != one)
    assert words[:2] == walk[:2] and words[2] != said


def test_without_anything_put_there_is_nothing_to_reword():
    assert ALFWorld().wordings(["go to desk 1", "use desklamp 1"]) == {}


@pytest.mark.parametrize(
    ("types", "limit", "left"),
    [(None, None, 14), (None, 5, 5), (TASK_TYPES[:2], None, 6), (TASK_TYPES[5:], 9, 2)],
)
def test_of_games_to_make_it_is_known_how_many_are_used(monkeypatch, tmp_path, types, limit, left):
    monkeypatch.setenv("MPO_CACHE", str(tmp_path))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    wanted = Generated(always=True, train=14, seen=0, unseen=3)
    config = ALFWorldConfig(generated=wanted, task_types=types, tasks={"train": limit})
    making = ALFWorld(config).to_make()
    assert (making.tasks["train"], making.tasks["seen"], making.made) == (left, 0, 17)
    assert making.seconds > 0 and not list(tmp_path.iterdir())
    drawn = [rooms.draw(0, "train", number, 0, 1.0).goal.type for number in range(14)]
    assert sum(kind in (types or TASK_TYPES) for kind in drawn) >= left


def test_what_the_doctor_found_is_json_for_scripts(monkeypatch, capsys):
    checks = [Check("Java", "ok", "25"), Check("GPU", "fault", "broken [x]", "mend it")]
    monkeypatch.setattr(doctor, "examine", lambda config: checks)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json"])
    assert ended.value.code == 2
    assert json.loads(capsys.readouterr().out) == [
        {"name": "Java", "status": "ok", "found": "25", "remedy": ""},
        {"name": "GPU", "status": "fault", "found": "broken [x]", "remedy": "mend it"},
    ]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["cluster.logical_cpus=40"], "; Ray is told so by cluster.logical_cpus, the machine has"),
        (["cluster.rollout_actors=1", "cluster.cpus_per_rollout_actor=5"], "; Ray is told of "),
    ],
)
def test_it_is_said_where_rays_number_of_cpus_comes_from(monkeypatch, overrides, says):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    check = doctor._room(named_config("demo", overrides))
    assert check.status == "ok" and says in check.found
    assert "cluster.logical_cpus" in check.found
