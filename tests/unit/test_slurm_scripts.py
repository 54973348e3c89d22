"""Functions of the sbatch scripts, with other programs in the place of a node's."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = (Path(__file__).parents[2] / "slurm" / "ray_cluster.sh").read_text()


def call(function: str, variables: dict[str, str], programs: Path | None = None):
    """Call a function of ray_cluster.sh alone; what it says, and its TMPDIR afterwards."""
    [longest] = re.findall(r"^LONGEST=\d+$", SCRIPT, re.MULTILINE)
    [body] = re.findall(rf"^{function}\(\) {{$.*?^}}$", SCRIPT, re.MULTILINE | re.DOTALL)
    fail = 'fail() { echo "$1" >&2; exit 1; }'
    path = f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"]
    return subprocess.run(
        ["bash", "-uc", f'{fail}\n{longest}\n{body}\n{function}\necho "${{TMPDIR:-}}"'],
        env={"PATH": path, "LANG": "C.UTF-8"} | variables,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "lines",
    [
        ["inet 10.0.0.1/24 brd 10.0.0.255 scope global ib0"],
        ["inet 10.0.0.1/24 scope global ib0", "inet 10.0.1.1/24 scope global secondary ib0"],
        ["inet 10.0.0.1 peer 10.0.0.2/32 scope global ib0", "inet 10.9.9.9/8 scope global ib0"],
    ],
)
def test_an_interface_with_several_addresses_gives_one(tmp_path, lines):
    shown = "".join(f"2: ib0    {line}\n" for line in lines)
    (tmp_path / "ip").write_text(f"#!/bin/sh\ncat <<'END'\n{shown}END\n")
    (tmp_path / "ip").chmod(0o755)
    variables = {"SLURM_STEP_NUM_NODES": "2", "MPO_INTERFACE": "ib0"}
    assert call("own_address", variables, tmp_path).stdout.split() == ["10.0.0.1"]


@pytest.fixture
def scratch():
    with tempfile.TemporaryDirectory(prefix="mpo-", dir="/tmp") as folder:
        yield Path(folder)


def test_a_long_temporary_folder_gets_a_short_name(scratch, tmp_path):
    long = tmp_path / ("x" * 115)
    long.mkdir()
    done = call("make_scratch", {"scratch": str(scratch), "TMPDIR": str(long)})
    assert done.stdout.strip() == str(scratch / "t")
    assert (scratch / "t").resolve() == long.resolve()


def test_a_short_temporary_folder_is_left_as_it_is(scratch):
    done = call("make_scratch", {"scratch": str(scratch), "TMPDIR": "/t"})
    assert done.stdout.strip() == "/t"


def test_a_folder_too_long_for_sockets_is_refused_with_the_length_that_fits():
    folder = "/scratch/of/a/user/with/a/long/name"
    done = call("make_scratch", {"scratch": f"{folder}/mpo-1234567.0", "MPO_TMPDIR": folder})
    assert done.returncode == 1
    assert "set MPO_TMPDIR to a folder of at most 25 bytes" in done.stderr


def test_a_folder_that_cannot_be_made_is_named():
    done = call("make_scratch", {"scratch": "/none/mpo-1.0", "MPO_TMPDIR": "/none"})
    assert done.returncode == 1 and "/none/mpo-1.0: cannot be made" in done.stderr
