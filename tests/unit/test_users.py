"""Users as clusters and containers have them: without a name, without a home, in a group."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mpo_core import cache
from mpo_core.cache import default_cache, settle_libraries
from mpo_core.envs.alfworld import Generated, generated_games
from mpo_core.errors import InputError

ROOT = Path(__file__).parents[2]
NAMELESS, GROUP = 54321, 54322
# It may read what Python needs, wherever that lies, and write nothing but its own.
CAPABLE = "-all,+dac_read_search"
AS_NAMELESS = [
    "setpriv",
    f"--reuid={NAMELESS}",
    f"--regid={GROUP}",
    "--clear-groups",
    f"--inh-caps={CAPABLE}",
    f"--ambient-caps={CAPABLE}",
    f"--bounding-set={CAPABLE}",
]
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="becoming another user needs root"
)


def nameless(*command: str, **variables: str) -> subprocess.CompletedProcess:
    """A command as a user without an entry in the list of users, without a home either."""
    return subprocess.run(
        [*AS_NAMELESS, sys.executable, *command],
        check=False,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        encoding="utf-8",
    )


@pytest.fixture
def shared(tmp_path) -> Path:
    """A folder that both users may write, as one of their group."""
    # The folders of a test are their user's alone.
    for folder in (f for f in (tmp_path, *tmp_path.parents) if not f.stat().st_mode & 0o077):
        folder.chmod(0o755)
    runs = tmp_path / "runs"
    runs.mkdir()
    os.chown(runs, -1, GROUP)
    runs.chmod(0o2775)
    return runs


CACHE = """
import getpass, os
from mpo_core.cache import default_cache, settle_libraries
settle_libraries()
from pathlib import Path
print(default_cache(), getpass.getuser(), Path.home(), os.environ["XDG_CACHE_HOME"])
"""


@pytest.mark.slow
@needs_root
def test_a_user_without_name_and_home_has_all_in_the_cache(shared):
    answer = nameless("-c", CACHE, MPO_CACHE=str(shared / "cache"))
    assert answer.stdout.split() == [
        f"{shared}/cache",
        f"uid{NAMELESS}",
        f"{shared}/cache/home",
        f"{shared}/cache/libraries",
    ], answer.stderr


@pytest.mark.slow
@needs_root
def test_a_user_without_name_and_home_is_told_of_the_cache(shared):
    answer = nameless("-m", "jobs.cli", "run", "demo-llm", f"runs_dir={shared}")
    assert answer.returncode == 2
    assert answer.stderr.startswith("mpo: error: this user has no home folder")
    assert "set MPO_CACHE" in answer.stderr
    assert list(shared.iterdir()) == []


LOCK = """
import sys
from pathlib import Path
from mpo_core.errors import InputError
from mpo_core.files import write_text
from mpo_core.ledger import Ledger
from mpo_core.locks import lock_file
from mpo_core.tracking.store import prepare, sqlite_uri
from mpo_core.types import Plan

runs = Path(sys.argv[1])
with lock_file(runs / ".mlflow.lock"):
    print("locked")
for use in (
    lambda: prepare(sqlite_uri(runs / "mlflow.db"), runs, "mpo"),
    lambda: Ledger(runs / "theirs" / "plans.jsonl", Plan, key=str).__enter__(),
    lambda: write_text(runs / "theirs" / "timings.json", "{}"),
    lambda: write_text(runs / "ours" / "timings.json", "{}"),
    lambda: lock_file(runs / "theirs" / "lock").__enter__(),
):
    try:
        use()
        print("done")
    except InputError as error:
        print(error)
"""


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("writable", [True, False])
def test_two_users_of_a_runs_folder_share_its_locks_and_store(shared, writable):
    from mpo_core.locks import lock_file
    from mpo_core.tracking.store import prepare, sqlite_uri

    (shared / "theirs").mkdir()
    (shared / "theirs").chmod(0o755)
    (shared / "theirs" / "plans.jsonl").touch()
    with lock_file(shared / ".mlflow.lock"):
        prepare(sqlite_uri(shared / "mlflow.db"), shared, "mpo")
    if not writable:
        for path in (shared / ".mlflow.lock", shared / "mlflow.db"):
            path.chmod(0o644)
    answer = nameless("-c", LOCK, str(shared))
    locked, store, ledger, file, own, lock = answer.stdout.splitlines()
    assert (locked, own) == ("locked", "done"), answer.stderr
    if writable:
        assert store == "done"
    else:
        assert store.startswith(f"{shared}/mlflow.db: this user cannot write it; ")
    assert ledger.startswith(f"{shared}/theirs/plans.jsonl: cannot be opened: Permission denied; ")
    assert file.startswith(f"{shared}/theirs/timings.json: cannot write: Permission denied; ")
    assert lock.startswith(f"{shared}/theirs/lock: cannot be opened: Permission denied; ")


@pytest.mark.slow
@needs_root
def test_another_users_run_is_one_line_that_names_the_file(shared):
    run = shared / "demo-llm"
    run.mkdir(mode=0o755)
    (run / "config.yaml").touch()
    settings = [
        f"runs_dir={shared}",
        "envs={scienceworld: {}}",
        "models={m: {endpoint: http://127.0.0.1:1/v1}}",
        "planner.model=m",
        "agent.model=m",
        "evaluation.arms=[none]",
        "cluster.enabled=false",
    ]
    answer = nameless("-m", "jobs.cli", "run", "demo-llm", *settings, MPO_CACHE=f"{shared}/cache")
    assert answer.returncode == 2
    assert f"mpo: error: runs_dir: {run}/config.yaml: cannot write: Per" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.fixture
def no_libraries(monkeypatch):
    """An environment that says nothing of where libraries keep their things."""
    before = dict(os.environ)
    libraries = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "TRITON_HOME", "HF_HOME", "MPO_CACHE")
    for name in (*libraries, *cache.RAY_TOKEN):
        monkeypatch.delenv(name, raising=False)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_a_home_that_can_be_written_is_left_to_the_libraries(no_libraries, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MPO_CACHE", str(tmp_path / "cache"))
    before = dict(os.environ)
    settle_libraries()
    assert os.environ == before


@pytest.mark.parametrize("home", ["/proc", "/no/such/home", "/dev/null"])
def test_where_home_cannot_be_written_libraries_use_the_cache(
    no_libraries, monkeypatch, tmp_path, home
):
    monkeypatch.setenv("HOME", home)
    before = dict(os.environ)
    settle_libraries()
    assert os.environ == before, "nothing is known of a better place"
    monkeypatch.setenv("MPO_CACHE", str(tmp_path))
    monkeypatch.setenv("TRITON_HOME", "/mine")
    settle_libraries()
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "libraries")
    assert os.environ["TRITON_HOME"] == "/mine"
    assert os.environ["HOME"] == ("/proc" if home == "/proc" else str(tmp_path / "home"))
    assert ("RAY_AUTH_TOKEN" in os.environ) == (home == "/proc"), "Ray writes one at home"


def test_models_in_a_home_that_can_only_be_read_are_found(no_libraries, monkeypatch, tmp_path):
    models = tmp_path / "home" / ".cache" / "huggingface"
    models.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_writable", lambda home: False)
    settle_libraries()
    assert os.environ["HF_HOME"] == str(models)


def test_the_cache_is_where_the_variable_says_else_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MPO_CACHE", "~/mine")
    assert default_cache() == tmp_path / "mine"
    monkeypatch.setenv("MPO_CACHE", "")
    assert default_cache() == tmp_path / ".cache" / "mpo"
    monkeypatch.delenv("HOME")
    assert default_cache().name == "mpo", "the list of users knows a home"


def test_a_home_that_cannot_be_written_is_told_of_the_cache(monkeypatch):
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.delenv("MPO_CACHE", raising=False)
    with pytest.raises(InputError, match=r"^/proc/\.cache/mpo/.* cannot be .*set MPO_CACHE to"):
        generated_games(Generated())


@pytest.mark.slow
def test_the_engines_process_needs_no_home(monkeypatch, tmp_path):
    from mpo_core.envs.alfworld.process import GameProcess

    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setenv("MPO_CACHE", str(tmp_path))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    process = GameProcess(None, call_timeout_s=60)
    assert process.lost is None
    process.stop()
