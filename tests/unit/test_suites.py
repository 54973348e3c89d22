"""Environments are found by their entry points, imported when named, and known by nobody else."""

import ast
import importlib
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.doctor import examine
from mpo_core.envs.base import installed, suite_class
from mpo_core.errors import InputError
from mpo_core.prompts import load_prompts

ROOT = Path(__file__).parents[2]
BUILTIN = {"alfworld", "scienceworld"}
WHOLE = """
from pathlib import Path
from mpo_core.config import Section
from mpo_core.envs.base import Suite

class Mine(Suite):
    name = "mine"
    Config = Section
    prompts = Path(__file__).parent
    def __init__(self, config): pass
    def tasks(self, split): return []
    def step_limit(self, task): return 1
    def protocol(self): return {}
    def host(self): raise NotImplementedError
"""
numbers = count()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs a package whose one module is the source; its entry point leads to `Mine`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(source: str, name: str = "mine") -> None:
        number = next(numbers)
        (tmp_path / f"third_party_{number}.py").write_text(source)
        about = tmp_path / f"third_party_{number}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Name: third-party-{number}\nVersion: 1\n")
        points = f"[mpo_core.environments]\n{name} = third_party_{number}:Mine\n"
        (about / "entry_points.txt").write_text(points)
        importlib.invalidate_caches()

    return install


def test_a_third_partys_suite_needs_to_say_only_what_is_its_own(package):
    package(WHOLE)
    assert set(installed()) >= BUILTIN | {"mine"}
    suite = suite_class("mine")(None)
    assert (suite.faults(), suite.left_out(), suite.checks(), suite.generate) == ((), (), (), None)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_engine", r"third_party_\d+:Mine cannot be imported: No module named 'no_"),
        ("Yours = 1", r"cannot be imported: module 'third_party_\d+' has no attribute 'Mine'"),
        (WHOLE.replace("    Config = Section\n", ""), r"third_party_\d+:Mine lacks Config,"),
        (WHOLE.replace("step_limit", "limit"), "lacks step_limit, which every environment has"),
        (WHOLE.replace("def host", "def hosts").replace("prompts", "p"), "lacks host, prompts, "),
        (WHOLE.replace('"mine"', '"yours"'), "does not call itself 'mine': set its `name`"),
        ("class Mine: pass", "lacks Config, prompts, "),
    ],
)
def test_what_a_third_partys_package_lacks_is_one_clear_line(source, says, package, capsys):
    package(source)
    with pytest.raises(InputError, match=rf"^envs\.mine: .*{says}"):
        suite_class("mine")
    with pytest.raises(SystemExit) as ended:
        main(["tasks", "mine"])
    assert ended.value.code == 2 and "envs.mine: " in capsys.readouterr().err


def test_an_environment_without_prompts_says_which_it_lacks(package):
    package(WHOLE)
    with pytest.raises(InputError, match=r"prompts of mine: no agent and no agent_act"):
        load_prompts("mine")


@pytest.mark.parametrize("name", ["mine", "alfworld"])
def test_a_name_that_several_packages_have_is_refused(name, package):
    for _ in range(2):
        package(WHOLE, name)
    with pytest.raises(InputError, match=rf"envs\.{name}: several packages have this name: .*"):
        suite_class(name)


def test_the_doctor_warns_of_an_environment_that_nobody_asked_for_and_goes_on(package):
    package("import no_such_engine")
    [check] = [check for check in examine() if check.name == "environment mine"]
    assert check.status == "warn" and "no_such_engine" in check.found


def test_an_option_that_an_environments_generator_lacks_is_refused(package, capsys):
    package(f"{WHOLE}    def generate(out, counts, seed, *, on_game): return 'made'\n")
    with pytest.raises(SystemExit) as ended:
        main(["tasks", "mine", "generate", "--out", "games", "--prior-power", "2"])
    assert ended.value.code == 2
    assert "--prior-power: mine generates its tasks without it" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["tasks", "mine", "generate", "--out", "games"])
    assert not ended.value.code and "made" in capsys.readouterr().out


@pytest.mark.slow
def test_an_engine_is_imported_by_those_alone_who_play():
    code = (
        "import sys, jobs.cli, jobs.run\n"
        "from mpo_core.envs.base import suite_class\n"
        "from mpo_core.prompts import load_prompts\n"
        "print(sorted(name for name in sys.modules if name.startswith('mpo_core.envs.')))\n"
        f"for name in {sorted(BUILTIN)}:\n"
        "    suite_class(name)(suite_class(name).Config()); load_prompts(name)\n"
        "print([name for name in ('alfworld', 'textworld', 'scienceworld', 'jericho', 'torch')"
        " if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == ["['mpo_core.envs.base']", "[]"]


ABOUT_ONE = ("mpo_core/sandbox/", "jobs/sandbox.py")
"""The sandbox: games and models made for one environment, and of use in no other."""


def named(path: Path) -> list[str]:
    """The environments that a module imports, or names in a text of one word."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [one.name for one in node.names] if isinstance(node, ast.Import) else []
        found += [part for module in modules for part in module.split(".")]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return [name for name in found if name in BUILTIN | {"sciworld"}]


@pytest.mark.slow
def test_no_environment_is_named_outside_of_its_folder():
    names = {
        str(path.relative_to(ROOT)): named(path)
        for room in ("mpo_core", "cluster", "jobs")
        for path in (ROOT / room).rglob("*.py")
    }
    assert names["mpo_core/envs/alfworld/__init__.py"]
    for path, found in names.items():
        own = path.split("/")[2] if path.startswith("mpo_core/envs/") else None
        if not path.startswith(ABOUT_ONE):
            assert set(found) <= {own, "sciworld" if own == "scienceworld" else own}, path
