"""The proxy's folder: what is kept of conversations and of the feedback on them."""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpo_core.errors import InputError
from mpo_core.proxy.records import Conversation, Feedback, Usage, read_feedback, task_of
from mpo_core.proxy.store import DATABASE, Store, told_apart
from mpo_core.types import Plan
from tests.thoroughness import examples


def conversation(
    id: str = "c", text: str = "Tidy up.", plan: str | None = None, **of
) -> Conversation:
    task = task_of(text)
    given = None if plan is None else Plan.of(task.id, plan, "v1")
    return Conversation(
        id=id,
        task_id=task.id,
        task=task.description,
        plan_id=given and given.id,
        plan=plan,
        **{
            "planner": "v1" if plan else "",
            "arm": "v1",
            "model": "m",
            "mode": "query",
            "begun": 1.5,
        }
        | of,
    )


def said(reward: float = 1.0, success: bool | None = None, *, final: bool = True, id: str = "c"):
    return Feedback(conversation=id, reward=reward, success=success, final=final, at=2.0)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "proxy") as store:
        yield store


# ------------------------------------------------------------------------------- conversations


def test_a_conversation_stays_as_it_was_first_written(store):
    first = conversation(plan="Step 1: Go.")
    assert store.open_conversation(first) == first
    assert store.open_conversation(conversation(plan="Step 1: Stay.")) == first
    assert store.conversation("c") == first and store.conversation("d") is None
    assert list(store.conversations()) == [first]


def test_what_was_kept_is_there_for_other_processes_and_later(tmp_path):
    with Store(tmp_path) as one, Store(tmp_path, create=False) as other:
        one.open_conversation(conversation(plan="Step 1: Go."))
        assert other.feedback(said(0.5)) == "stored"
        assert one.rewards() == {"c": said(0.5)}
    with Store(tmp_path, create=False) as later:
        assert later.rewards() == {"c": said(0.5)}
        assert later.conversation("c") == conversation(plan="Step 1: Go.")


def test_all_conversations_are_read_in_their_order_however_many(store, monkeypatch):
    monkeypatch.setattr("mpo_core.proxy.store.READ_AT_ONCE", 3)
    for number in range(10):
        store.open_conversation(conversation(f"c{9 - number}"))
        store.feedback(said(number / 9, id=f"c{9 - number}"))
    assert [one.id for one in store.conversations()] == [f"c{9 - number}" for number in range(10)]
    assert len(store.rewards()) == 10


def test_plans_of_a_task_are_counted_by_text_and_planner(store):
    for id, plan, planner in (
        ("1", "A", "v1"),
        ("2", "B", "v1"),
        ("3", "A", "v1"),
        ("4", "A", "v2"),
    ):
        store.open_conversation(conversation(id, plan=plan, planner=planner))
    store.open_conversation(conversation("5"))
    store.open_conversation(conversation("6", "Another task.", plan="A"))
    found = store.plans_of(task_of("Tidy up.").id)
    assert [(plan.text, plan.origin, n) for plan, n in found] == [
        ("A", "v1", 2),
        ("B", "v1", 1),
        ("A", "v2", 1),
    ]


def test_usage_adds_up_and_messages_are_the_last_ones(store):
    store.open_conversation(conversation())
    store.record_usage("c", 1, 100, 7)
    store.record_usage("c", 1, 200, 9)
    store.record_messages("c", [{"role": "user", "content": "Hi \ud800"}])
    store.record_messages("c", [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}])
    assert store.usage() == {"c": Usage(requests=2, prompt_tokens=300, completion_tokens=16)}
    assert store.messages("c") == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert store.messages("d") == []


@given(st.text(st.characters(), max_size=20))
def test_a_task_is_its_text_whatever_it_holds(text):
    task = task_of(text)
    task.description.encode()
    assert task_of(task.description) == task
    assert conversation(text=text, plan="Go.").given == Plan.of(task.id, "Go.", "v1")


@pytest.mark.parametrize("changed", [{"task_id": "feedback/1"}, {"plan": None}, {"plan": "Stay."}])
def test_a_conversation_cannot_belong_to_another_task_or_plan(changed):
    whole = conversation(plan="Go.").model_dump()
    with pytest.raises(ValueError, match="is not that of"):
        Conversation.model_validate(whole | changed)


# ------------------------------------------------------------------------------------ feedback


@pytest.mark.parametrize(
    ("reports", "kept"),
    [
        ([said(1.0)], ["stored"]),
        ([said(1.0), said(1.0)], ["stored", "repeated"]),
        ([said(1.0), said(1.0, final=False)], ["stored", "repeated"]),
        ([said(1.0), said(0.5)], ["stored", "late"]),
        ([said(1.0), said(1.0, success=True)], ["stored", "late"]),
        ([said(0.5, success=True), said(0.5)], ["stored", "repeated"]),
        ([said(0.5, success=True), said(0.4)], ["stored", "late"]),
        ([said(0.5, success=True), said(0.5, success=False)], ["stored", "late"]),
        ([said(1.0), said(0.5), said(0.5), said(1.0)], ["stored", "late", "late", "repeated"]),
        ([said(0.2, final=False), said(0.4, final=False)], ["stored", "stored"]),
        ([said(0.2, final=False), said(0.2, final=False)], ["stored", "repeated"]),
        ([said(0.2, final=False), said(0.2)], ["stored", "stored"]),
        (
            [said(0.2, final=False), said(0.4), said(0.2, final=False), said(0.2)],
            ["stored", "stored", "repeated", "late"],
        ),
    ],
)
def test_feedback_is_told_apart(store, reports, kept):
    store.open_conversation(conversation())
    assert [store.feedback(one) for one in reports] == kept


def test_feedback_of_no_conversation_is_unknown_and_not_kept(store):
    assert store.feedback(said()) == "unknown"
    store.open_conversation(conversation())
    assert store.rewards() == {} and store.feedback(said()) == "stored"


def test_only_what_is_final_counts(store):
    store.open_conversation(conversation("c"))
    store.open_conversation(conversation("d"))
    store.feedback(said(0.3, final=False, id="c"))
    store.feedback(said(0.6, id="d"))
    assert store.rewards() == {"d": said(0.6, id="d")} and store.unfinished() == {"c"}


REPORTS = st.builds(
    said,
    st.sampled_from([0.0, 0.1 + 0.2, 0.5, 1.0]),
    st.sampled_from([None, True, False]),
    final=st.booleans(),
)


@examples(150)
@given(st.lists(REPORTS, max_size=8))
def test_whatever_is_reported_counts_once_and_repeating_it_changes_nothing(reports):
    rows: list[tuple[Feedback, bool]] = []
    counted = None
    for report in reports:
        kept, new = told_apart(report, rows)
        if new:
            rows.append((report, kept == "late"))
        if report.final and counted is None:
            counted = report
            assert kept == "stored"
        elif counted is not None:
            assert kept != "stored"
            assert kept == "repeated" or report.says != counted.says
        again, new = told_apart(report, rows)
        assert not new
        assert again == ("late" if kept == "late" else "repeated")
    finals = [one for one, late in rows if one.final and not late]
    assert finals == ([counted] if counted else [])
    assert len({(r.says, r.final) for r, late in rows if late}) == sum(late for _, late in rows)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ([], "expected an object"),
        ({"reward": 1}, "conversation: missing"),
        ({"conversation": "c"}, "reward: missing"),
        ({"conversation": "c", "reward": 1.5}, "reward: "),
        ({"conversation": "c", "reward": float("nan")}, "reward: "),
        ({"conversation": "c", "reward": True}, "reward: "),
        ({"conversation": "c", "reward": "1"}, "reward: "),
        ({"conversation": "c", "reward": 1, "success": "yes"}, "success: "),
        ({"conversation": "c", "reward": 1, "score": 1}, "score: unknown key"),
        ({"conversation": "c", "reward": 1, "at": 3.0}, "at: unknown key"),
        ({"conversation": "", "reward": 1}, "conversation: "),
        ({"conversation": "\ud800", "reward": 1}, "conversation: "),
    ],
)
def test_a_report_that_says_something_else_is_refused_by_name(body, fault):
    with pytest.raises(InputError, match=fault):
        read_feedback(body, at=1.0)


def test_a_report_is_read_with_what_may_be_left_out():
    assert read_feedback({"conversation": "c", "reward": 1}, at=2.0) == said(1.0)
    assert read_feedback({"conversation": "c", "reward": 0.5, "final": False}, at=2.0) == said(
        0.5, final=False
    )


# ------------------------------------------------------------------------------ at one time


@pytest.mark.slow
def test_many_threads_write_at_once_and_one_of_each_counts(store):
    kept: Counter[str] = Counter()
    lock = threading.Lock()

    def work(number: int) -> None:
        for id in map(str, range(15)):
            store.open_conversation(conversation(id, plan=f"Step 1: {number}."))
            answer = store.feedback(said(number / 10, id=id))
            store.record_usage(id, 1, 10, 1)
            with lock:
                kept[answer] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == {"stored": 15, "late": 15 * 5}
    assert len(list(store.conversations())) == len(store.rewards()) == 15
    assert {usage.requests for usage in store.usage().values()} == {6}


WRITER = """
import itertools, random, sys
from pathlib import Path
from mpo_core.proxy.records import Conversation, Feedback, task_of
from mpo_core.proxy.store import Store
from mpo_core.types import Plan

me, folder = sys.argv[1:]
store, draw = Store(Path(folder)), random.Random(me)
for number in itertools.count():
    shared = draw.random() < 0.3
    id = f"shared-{number % 20}" if shared else f"{me}-{number}"
    task = task_of(f"Task {number % 7}.")
    plan = Plan.of(task.id, f"Step 1: {me}.", "v1")
    kept = store.open_conversation(Conversation(
        id=id, task_id=task.id, task=task.description, plan_id=plan.id, plan=plan.text,
        planner="v1", arm="v1", model="m", mode="query", begun=1.0))
    print("conversation", id, kept.plan_id, flush=True)
    reward = draw.randrange(5) / 4
    answer = store.feedback(Feedback(conversation=id, reward=reward, at=1.0))
    print("feedback", id, reward, answer, flush=True)
    store.record_usage(id, 1, 1, 1)
"""


@pytest.mark.slow
def test_writers_killed_at_any_time_lose_nothing_that_was_acknowledged(tmp_path):
    acknowledged: list[list[str]] = []
    for attempt in range(4):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, f"{attempt}{name}", str(tmp_path)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in "abc"
        ]
        for number, writer in enumerate(writers):
            assert writer.stdout
            for _ in range(25 + 9 * number):
                acknowledged.append(writer.stdout.readline().split())
            writer.send_signal(signal.SIGKILL)
        for writer in writers:
            with writer:
                assert writer.stdout
                acknowledged += [line.split() for line in writer.stdout if line.endswith("\n")]
    with Store(tmp_path, create=False) as store:
        conversations = {one.id: one for one in store.conversations()}
        rewards = store.rewards()
        rows = [(f.conversation, f.reward) for f in store.late()]
    for what, id, *rest in acknowledged:
        if what == "conversation":
            assert conversations[id].plan_id == rest[0]
        else:
            reward, answer = float(rest[0]), rest[1]
            counts = rewards[id].reward == reward
            assert counts == (answer in ("stored", "repeated"))
            assert counts or rows.count((id, reward)) == 1
    stored = Counter(id for what, id, *rest in acknowledged if rest[-1] == "stored")
    assert max(stored.values()) == 1 and len(stored) > 50
    with sqlite3.connect(tmp_path / DATABASE) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        finals = database.execute("SELECT conversation FROM feedback WHERE NOT late").fetchall()
    assert len(finals) == len(set(finals))


# ------------------------------------------------------------------------------ what is refused


def test_a_folder_without_records_is_refused_where_it_is_only_read(tmp_path):
    with pytest.raises(InputError, match="no proxy has kept anything here"):
        Store(tmp_path / "nothing", create=False)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("content", ["text", "other tables", "another version"])
def test_what_is_no_proxys_database_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / DATABASE
    if content == "text":
        path.write_text("These are notes of somebody's, and no database at all. " * 10)
    else:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE notes (text)")
            if content == "another version":
                database.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(InputError, match=DATABASE):
        Store(tmp_path)
    assert path.read_bytes() == before


FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
from mpo_core.errors import InputError
from mpo_core.proxy.records import Conversation, Feedback, task_of
from mpo_core.proxy.store import Store
store = Store(Path(sys.argv[1]))
task = task_of("Tidy up.")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
done = []
try:
    for number in range(1000):
        store.open_conversation(Conversation(id=str(number), task_id=task.id, task="Tidy up.",
            arm="off", model="m", mode="query", begun=1.0))
        store.feedback(Feedback(conversation=str(number), reward=0.5, at=1.0))
        done.append(str(number))
except InputError as error:
    print(json.dumps([done, str(error)]))
"""


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_what_was_acknowledged_stays(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    done, error = json.loads(answer.stdout)
    assert done and error.startswith(str(tmp_path / DATABASE)) and "free some space" in error
    with Store(tmp_path) as store:
        assert set(done) <= store.rewards().keys()
        assert len(store.rewards()) <= len(done) + 1
        assert store.open_conversation(conversation("new")).id == "new"
