"""What an installed suite holds: every file that its code reads lies in the wheel."""

import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_file_of_the_packages_is_code_or_package_data():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = [*project["tool"]["setuptools"]["package-data"]["*"], "*.py"]
    command = ["git", "ls-files", "mpo_core", "cluster", "jobs"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = [Path(line).name for line in files.stdout.splitlines()]
    assert names
    left_out = [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)]
    assert left_out == []


def test_type_checkers_are_told_that_every_package_has_types():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert packages
    assert all((ROOT / name.rstrip("*") / "py.typed").is_file() for name in packages)
