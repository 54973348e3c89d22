import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mpo_core.envs.alfworld import translation as module
from mpo_core.envs.alfworld.games import game_file
from mpo_core.envs.alfworld.translation import Translation, translate, translation

TRANSLATING = """
import json, sys, time
from pathlib import Path
from mpo_core.envs.alfworld import translation as module
domain, problem, folder = json.load(sys.stdin)
counted, translate = [], module.translate
module.translate = lambda *texts: counted.append(1) or translate(*texts)
print("ready", flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.001)
module.translation(domain, problem, Path(folder))
print(len(counted))
"""


@pytest.fixture(scope="module")
def game(six_games: Path, six_tasks) -> tuple[str, str]:
    data = json.loads(game_file(six_games, six_tasks[0]).read_bytes())
    return data["pddl_domain"], data["pddl_problem"]


@pytest.fixture(scope="module")
def translated(game: tuple[str, str]) -> Translation:
    return translate(*game)


def test_a_game_is_translated_once_by_all_processes_that_want_it_at_the_same_time(game, tmp_path):
    gate = tmp_path / "gate"
    said = json.dumps([*game, str(tmp_path / "cache")])
    processes = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", TRANSLATING, str(gate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        process.stdin.write(said)
        process.stdin.close()
        processes.append(process)
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    gate.touch()
    counts = [int(process.stdout.read()) for process in processes]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert sum(counts) == 1
    assert len(list((tmp_path / "cache").glob("*.z"))) == 1


def test_what_is_read_back_is_what_was_translated(game, translated, tmp_path, monkeypatch):
    assert translation(*game, None) == translated
    assert translation(*game, tmp_path) == translated
    monkeypatch.setattr(module, "translate", None)
    assert translation(*game, tmp_path) == translated


def test_another_text_is_another_translation(game, translated, tmp_path):
    domain, problem = game
    translation(domain, problem, tmp_path)
    translation(domain, problem + "\n; a note", tmp_path)
    translation("; a note\n" + domain, problem, tmp_path)
    assert len(list(tmp_path.glob("*.z"))) == 3


def test_where_nothing_can_be_kept_a_game_is_translated_all_the_same(
    game, translated, tmp_path, caplog
):
    (tmp_path / "file").touch()
    assert translation(*game, tmp_path / "file" / "cache") == translated
    assert "cannot be kept" in caplog.text


def test_who_holds_the_lock_for_too_long_is_not_waited_for(game, translated, tmp_path, monkeypatch):
    translation(*game, tmp_path)
    [kept] = tmp_path.glob("*.z")
    kept.unlink()
    [lock] = tmp_path.glob("*.lock")
    monkeypatch.setattr(module, "LOCK_WAIT_S", 0.2)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert translation(*game, tmp_path) == translated
    assert kept.exists()


def test_translating_leaves_the_process_as_it_was(game, capsys):
    arguments, output = list(sys.argv), sys.stdout
    translate(*game)
    assert sys.argv == arguments
    assert sys.stdout is output
    assert capsys.readouterr().out == ""
