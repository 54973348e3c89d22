"""The proxy's folder, moved, removed or replaced under the processes that use it."""

import shutil
from pathlib import Path

import pytest

from mpo_core.proxy.looking import counts_of
from mpo_core.proxy.records import Feedback
from mpo_core.proxy.store import DATABASE, FILES, Store, StoreFault
from tests.callers import conversation


def said(reward: float) -> Feedback:
    return Feedback(conversation="c", reward=reward, at=1.0)


def begun(id: str):
    return conversation(id, 1, "Step 1: Go.", "v1")


def take_away(folder, what):
    if what == "the folder":
        shutil.rmtree(folder)
    elif what == "moved":
        folder.rename(folder.with_name("elsewhere"))
    elif what == "anew":
        shutil.rmtree(folder)
        Store(folder).close()
    elif what == "a copy":
        copy = folder.with_name("copy")
        shutil.copytree(folder, copy)
        shutil.rmtree(folder)
        copy.rename(folder)
    else:
        (folder / what).unlink()


WRITES = [
    lambda store: store.open_conversation(begun("d")),
    lambda store: store.feedback(said(0.5)),
    lambda store: store.record_usage("c", 1, 1, 1),
    lambda store: store.record_messages("c", []),
    lambda store: store.name("other", "c"),
]


@pytest.mark.parametrize("what", ["the folder", "moved", "anew", "a copy", *FILES])
def test_nothing_is_acknowledged_that_goes_to_files_without_a_name(tmp_path, what):
    folder = tmp_path / "proxy"
    with Store(folder) as one, Store(folder) as other:
        one.open_conversation(begun("c"))
        one.feedback(said(0.25))
        take_away(folder, what)
        for write in WRITES:
            for store in (one, other):
                with pytest.raises(StoreFault, match="start anew what uses them"):
                    write(store)
        # What was kept before can be read by those who have it.
        assert other.conversation("c") == begun("c") and other.conversation("d") is None
        assert one.rewards() == {"c": said(0.25)} and one.usage() == {}
    if what == "moved":
        assert not folder.exists()
        with Store(folder.with_name("elsewhere"), create=False) as found:
            assert found.rewards() == {"c": said(0.25)}


def test_others_come_and_go_and_the_folder_stays_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    with Store(Path(tmp_path.name)) as store:
        monkeypatch.chdir("/")
        for number in range(3):
            with Store(tmp_path) as other:
                other.open_conversation(begun(f"{number}"))
            store.open_conversation(begun(f"own-{number}"))
            assert counts_of(tmp_path) == (2 * number + 2, 0)
            (tmp_path / DATABASE).chmod(0o600)
            (tmp_path / "planners.json").write_text("{}")
        assert len(list(store.conversations())) == 6
