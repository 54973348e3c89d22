"""What `mpo show` prints, in a terminal of eighty columns."""

import pytest

from jobs.cli import main
from jobs.rendering import console
from mpo_core.types import Plan, Task
from tests.viewed_run import GOOD, TASKS, episode, plan, viewed_run

LONG = Task(
    id="house/" + "-".join(["a-long-name"] * 9),
    env="house",
    type="find",
    split="unseen",
    variation=9,
    description="Your task is to: find thing 9.",
)


@pytest.fixture
def shown(tmp_path, monkeypatch, capsys):
    """Prints what has a name, as lines."""
    run = viewed_run(tmp_path / "run", tasks=[*TASKS, LONG])
    (run / "config.yaml").touch()
    monkeypatch.setattr(console, "width", 80)

    def show(name: str) -> list[str]:
        with pytest.raises(SystemExit) as ended:
            main(["show", name, str(run)])
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        return said.out.splitlines()

    return show


def test_a_tasks_id_is_whole_however_long_it_is(shown):
    lines = shown(LONG.id)
    assert LONG.id in "".join(line.rstrip() for line in lines[:4])
    assert max(map(len, lines)) <= 80 and not any("…" in line for line in lines)


def test_a_tasks_plans_have_the_whole_width(shown):
    lines = shown(TASKS[0].id)
    heading = f"plan {plan(TASKS[0]).id} of mpo, mean reward 1.00 of 1 episode"
    place = lines.index(heading)
    assert [line.strip() for line in lines[place + 1 : place + 3]] == GOOD.splitlines()


def test_where_an_episode_reaches_a_step_is_called_a_guess(shown):
    lines = shown(episode(0).key)
    assert "(turns reach its steps by a guess, from the words of both)" in lines
    assert "1, perhaps step 1, score 0.00" in lines and "2, perhaps step 2, score 1.00" in lines
    assert not any("guess" in line for line in shown(episode(7).key))


def test_a_plan_names_its_planner_once_where_that_is_its_origin(tmp_path, shown):
    path = tmp_path / "run" / "plans" / "v1-train.jsonl"
    called = Plan.of(TASKS[0].id, "Step 1: Ask.", "v1")
    path.write_text(called.model_dump_json() + "\n")
    assert shown(called.id)[2] == "of v1"
    assert shown(plan(TASKS[0]).id)[2] == "of mpo, made-up"


def test_of_what_begins_alike_it_is_said_how_many_there_are(tmp_path, capsys):
    alike = [LONG.model_copy(update={"id": f"alike/{number}"}) for number in range(6)]
    run = viewed_run(tmp_path / "run", tasks=[*TASKS, *alike])
    (run / "config.yaml").touch()
    with pytest.raises(SystemExit) as ended:
        main(["show", "alike/", str(run)])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "task alike/3 and 2 more; give more of it" in said
