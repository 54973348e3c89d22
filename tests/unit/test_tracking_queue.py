"""What a run logs on its way to MLflow: each entry once, whatever is killed and whenever."""

import json
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.cli import main
from mpo_core.config import TrackingConfig
from mpo_core.errors import InputError
from mpo_core.run_folder import RunFolder
from mpo_core.tracking import Dataset, MlflowTracker, PlannerVersion, sender
from mpo_core.tracking.faults import Away, Refused
from mpo_core.tracking.queue import HOLDS, Queue, Sent, _parsed
from mpo_core.tracking.sender import Delivered
from mpo_core.tracking.store import Address
from tests.thoroughness import examples


@pytest.fixture(autouse=True)
def unsent(monkeypatch):
    """Nothing is sent but by the test."""
    for method in ("start", "require_usable"):
        monkeypatch.setattr(f"mpo_core.tracking.tracker.Sender.{method}", lambda *_: None)
    monkeypatch.setattr("mpo_core.tracking.tracker.Sender.stop", lambda *_: (0, ""))


@contextmanager
def tracking(run: Path, identity: str = "one"):
    run.mkdir(parents=True, exist_ok=True)
    tracker = MlflowTracker(TrackingConfig(system_metrics=False), run.parent, run, {}, identity)
    try:
        yield tracker
    finally:
        tracker.close()


def entries(run: Path, *ops: str) -> list[dict]:
    return [entry for entry, _ in Queue(run).entries() if not ops or entry["op"] in ops]


def log_all(tracker: MlflowTracker, run: Path) -> None:
    """One of everything."""
    tracker.log_tags({"mpo.pairs": 3})
    tracker.log_metrics({"mean_reward/mpo": 0.5, "nan": float("nan")})
    with tracker.nested("round 1", "round"), tracker.nested("train mpo", "training", alone=True):
        for step in range(3):
            tracker.log_metrics({"loss": 1 / (step + 1)}, step)
    tracker.log_table("pairs", [{"a": 1, "b": "x"}])
    tracker.log_inputs([Dataset("tasks/train", "d", 3, "tasks/train.jsonl", "training")])
    (run / "report").mkdir(exist_ok=True)
    (run / "report" / "index.html").write_text("<p>")
    tracker.log_folder(run / "report", "report")
    tracker.log_trace({"id": "tr-1"})
    tracker.log_planner(PlannerVersion("m", "mpo", run / "planner", False, {}, "d", 0.5))


def test_what_is_logged_again_is_not_queued_again(tmp_path):
    run = tmp_path / "mine"
    with tracking(run) as tracker:
        log_all(tracker, run)
        log_all(tracker, run)
    before = entries(run)
    with tracking(run) as tracker:
        log_all(tracker, run)
    again = entries(run)[len(before) :]
    assert [entry["op"] for entry in again] == ["open", "status"]
    ops = [entry["op"] for entry in before]
    assert {op: ops.count(op) for op in set(ops)} == {
        **dict.fromkeys(("open", "tags", "table", "inputs", "folder", "trace", "model"), 1),
        "begin": 3,
        "metrics": 4,
        "status": 2,
    }


def test_what_has_changed_is_queued_again(tmp_path):
    run = tmp_path / "mine"
    with tracking(run) as tracker:
        log_all(tracker, run)
        tracker.log_tags({"mpo.pairs": 4, "mpo.plans": 1})
        tracker.log_tags({"mpo.pairs": 3})
        tracker.log_metrics({"mean_reward/mpo": 0.75})
        tracker.log_table("pairs", [{"a": 2, "b": "x"}])
        (run / "report" / "index.html").write_text("<b>")
        tracker.log_folder(run / "report", "report")
    assert [e["values"] for e in entries(run, "tags")] == [
        {"mpo.pairs": "3"},
        {"mpo.pairs": "4", "mpo.plans": "1"},
        {"mpo.pairs": "3"},
    ]
    assert entries(run, "metrics")[-1]["values"] == {"mean_reward/mpo": 0.75}
    assert len(entries(run, "table")) == len(entries(run, "folder")) == 2


def test_other_settings_are_another_run_with_all_of_it(tmp_path):
    run = tmp_path / "mine"
    for identity in ("one", "two"):
        with tracking(run, identity) as tracker:
            log_all(tracker, run)
    begun = [entry["run"] for entry in entries(run, "begin") if entry["parent"] is None]
    assert len(set(begun)) == len(begun) == 2
    assert len(entries(run, "trace")) == 2


@pytest.mark.parametrize("cut", [1, 2, 17])
def test_a_torn_line_is_owed_and_the_rest_stays(tmp_path, cut):
    run = tmp_path / "mine"
    with tracking(run) as tracker:
        tracker.log_metrics({"loss": 1.0}, 1)
        tracker.log_metrics({"loss": 0.5}, 2)
    path = Queue(run).path
    path.write_bytes(path.read_bytes()[:-cut])
    with tracking(run) as tracker:
        tracker.log_metrics({"loss": 1.0}, 1)
        tracker.log_metrics({"loss": 0.25}, 2)
    points = [(entry["step"], entry["values"]["loss"]) for entry in entries(run, "metrics")]
    assert points == [(1, 1.0), (2, 0.25)]


def test_a_damaged_line_is_named(tmp_path):
    run = tmp_path / "mine"
    with tracking(run):
        pass
    path = Queue(run).path
    path.write_bytes(b"{\n" + path.read_bytes())
    with pytest.raises(InputError, match=r"queue\.jsonl: a line is damaged; move the file away"):
        entries(run)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    "content",
    ["", "{", "5\n", "null\n", "[]\n", "{}\n", '{"op": 5}\n', '{"op": "open"}\n', "[" * 9999],
)
def test_a_queue_of_something_else_is_named_by_a_sync(tmp_path, content):
    path = Queue(tmp_path).path
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError, match=r"nothing was logged there|a line is damaged"):
        sender.sync(tmp_path, None)


@given(JSON, st.data())
def test_an_entry_that_lacks_something_or_holds_something_else_is_damaged(logged, other, data):
    entry = data.draw(st.sampled_from(entries(logged)))
    key = data.draw(st.sampled_from(sorted({"op", *HOLDS[entry["op"]]})))
    for spoilt in ({k: v for k, v in entry.items() if k != key}, entry | {key: other}):
        line = json.dumps(spoilt).encode()
        try:
            assert _parsed(line, logged) == json.loads(line) or "NaN" in str(line)
            assert isinstance(spoilt[key], type(entry[key])) or key in ("uri", "parent", "step")
        except InputError as fault:
            assert "a line is damaged" in str(fault)


@given(JSON | st.fixed_dictionaries({"offset": JSON}) | st.fixed_dictionaries({"aside": JSON}))
@example({"offset": "x"})
@example({"offset": -1})
@example({"aside": [10**9]})
@example(5)
def test_what_is_noted_of_a_store_is_its_form_or_damaged(logged, noted):
    path = RunFolder(logged).sent
    path.write_text(json.dumps({"mlflow.db mpo": noted}))
    address = Address.of(None, "mpo", logged.parent)
    try:
        with Queue(logged) as queue:
            sent = Delivered(queue, logged, address).sent
            assert max([sent.offset, *sent.aside]) <= queue.end
    except InputError as fault:
        assert "sent.json: damaged" in str(fault)
    path.write_text("{}")


def test_texts_have_no_effect_wherever_mlflow_shows_them(tmp_path):
    hostile = "a\x1b[31m\u202e\ud800b"
    run = tmp_path / "mine"
    with tracking(run) as tracker, tracker.nested(hostile, "stage"):
        tracker.log_tags({"t": hostile * 9000})
        tracker.log_table("t", [{"text": hostile}])
    text = Queue(run).path.read_text() + (run / "tracking" / "tables" / "t.json").read_text()
    shown = json.dumps(json.loads(f"[{','.join(text.splitlines())}]"), ensure_ascii=False)
    shown.encode()
    assert not set(shown) & set("\x1b\u202e")
    assert len(entries(run, "tags")[0]["values"]["t"]) == 8000


class Store:
    """Carries entries out as MLflow does: by names, so that twice is once; and can fail."""

    def __init__(self) -> None:
        self.has: dict[str, object] = {}
        self.carried = 0
        self.fails: list[Exception] = []

    def require_there(self, run: str) -> None: ...

    def answers(self) -> bool:
        return True

    def carry_out(self, chunk: list[dict]) -> None:
        for entry in chunk:
            if self.fails and (failure := self.fails.pop(0)):
                raise failure
            self.carried += 1
            self.has[json.dumps(entry, sort_keys=True)] = True


def delivered(run: Path, store: Store) -> Delivered:
    way = Delivered(Queue(run).__enter__(), run, Address.of(None, "mpo", run.parent))
    way._delivery = store
    return way


def finished(tmp_path: Path) -> Path:
    run = tmp_path / "mine"
    with tracking(run) as tracker:
        log_all(tracker, run)
        tracker.end("FINISHED")
    return run


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for method in ("start", "require_usable"):
            patch.setattr(f"mpo_core.tracking.tracker.Sender.{method}", lambda *_: None)
        patch.setattr("mpo_core.tracking.tracker.Sender.stop", lambda *_: (0, ""))
        return finished(tmp_path_factory.mktemp("logged"))


class Killed(BaseException):
    pass


@examples(25)
@given(killed=st.lists(st.integers(0, 12), max_size=6))
def test_a_sender_that_is_killed_anywhere_sends_all_and_nothing_twice(logged, killed):
    """Before an entry, or after it and before it is noted."""
    store = Store()
    Sent().save(logged, "mlflow.db mpo")
    for after in killed:
        way = delivered(logged, store)
        store.fails = [None] * after + [Killed()]
        save = way._save

        def dies(save=save, left=[after]):  # noqa: B006  It counts over the calls.
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            save()

        way._save = dies
        with suppress(Killed):
            way.send()
        way._queue.__exit__()
    store.fails = []
    way = delivered(logged, store)
    way.send()
    assert way.unsent() == 0
    way._queue.__exit__()
    assert len(store.has) == len(entries(logged))


def test_a_store_that_is_away_is_sent_the_rest_when_it_is_back(logged):
    store = Store()
    Sent().save(logged, "mlflow.db mpo")
    way = delivered(logged, store)
    store.fails = [None, None, Away("no answer")]
    with pytest.raises(Away):
        way.send()
    assert way.unsent() == len(entries(logged)) - 2
    way.send()
    way._queue.__exit__()
    assert way.unsent() == 0 and store.carried == len(entries(logged))


def test_an_entry_that_is_not_taken_is_set_aside_and_tried_again_later(logged, caplog):
    store = Store()
    Sent().save(logged, "mlflow.db mpo")
    way = delivered(logged, store)
    store.fails = [None, None, Refused("no such tag"), Refused("no such tag")]
    way.send()
    assert way.unsent() == 1 and caplog.text.count("set aside") == 1
    assert Sent.load(logged, "mlflow.db mpo").aside == way.sent.aside
    store.fails = [Refused("still not")]
    way.retry()
    assert way.unsent() == 1
    way.retry()
    way._queue.__exit__()
    assert way.unsent() == 0 and len(store.has) == len(entries(logged))


def test_an_entry_that_a_store_fails_at_time_and_again_holds_up_nothing(logged):
    store = Store()
    Sent().save(logged, "mlflow.db mpo")
    way = delivered(logged, store)
    for _ in range(sender.TRIES - 1):
        store.fails = [*([None] * 2 if not way.sent.offset else []), Away("status 500")]
        with pytest.raises(Away):
            way.send()
    store.fails = [Away("status 500")]
    way.send()
    way._queue.__exit__()
    assert way.unsent() == 1 and len(way.sent.aside) == 1


def test_a_run_that_cannot_be_made_is_tried_again_whatever_the_store_says(logged):
    store = Store()
    Sent().save(logged, "mlflow.db mpo")
    way = delivered(logged, store)
    store.fails = [None, Refused("experiment deleted"), Refused("experiment deleted")]
    with pytest.raises(Away, match="experiment deleted"):
        way.send()
    way._queue.__exit__()
    assert way.sent.aside == []


class Unwilling(Store):
    """Answers, and fails at one kind of entry."""

    def __init__(self, op: str, failure: Exception) -> None:
        super().__init__()
        self.op, self.failure = op, failure
        self.asked = 0

    def carry_out(self, chunk: list[dict]) -> None:
        self.asked += 1
        if chunk[0]["op"] == self.op:
            raise self.failure
        super().carry_out(chunk)


@pytest.mark.parametrize("failure", [Refused("bad name"), Away("status 500")])
@pytest.mark.parametrize("op", ["begin", "metrics", "status", "trace"])
def test_a_sync_ends_whatever_a_store_fails_at(logged, monkeypatch, op, failure):
    monkeypatch.setattr(sender, "FIRST_PAUSE_S", 0)
    store = Unwilling(op, failure)
    monkeypatch.setattr(Delivered, "reached", lambda way: store)
    monkeypatch.setattr(Delivered, "_delivery", store, raising=False)
    Sent().save(logged, "mlflow.db mpo")
    if op == "begin":
        with pytest.raises(InputError, match=r"answers, but does not begin the run \((bad|status)"):
            sender.sync(logged, None)
    else:
        assert sender.sync(logged, None)[1] == len(entries(logged, op))
    assert store.asked < 100
    waiting = Sent.load(logged, "mlflow.db mpo").unsent(Queue(logged))
    assert op == "begin" or waiting == len(entries(logged, op))


def test_of_several_folders_those_that_logged_are_synced(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        "mpo_core.tracking.sender.sync", lambda run, uri: asked.append(run) or (3, 0)
    )
    for run in ("logged", "silent"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "config.yaml").touch()
    Queue(tmp_path / "logged").path.parent.mkdir()
    Queue(tmp_path / "logged").path.touch()
    (tmp_path / "mlartifacts").mkdir()
    (tmp_path / "mlflow.db").touch()
    with pytest.raises(SystemExit) as end:
        main(["track", "sync", *map(str, sorted(tmp_path.iterdir()))])
    said = capsys.readouterr()
    assert not end.value.code, said.err
    assert asked == [tmp_path / "logged"]
    assert "silent: nothing was logged there" in said.out and "mlartifacts" not in said.out
    with pytest.raises(SystemExit) as end:
        main(["track", "sync", str(tmp_path / "silent"), str(tmp_path / "mlflow.db")])
    assert end.value.code == 2 and "nothing was logged" in capsys.readouterr().err
