"""A proxy's database with a record in it that is damaged."""

import sqlite3

import pytest

from mpo_core.errors import InputError
from mpo_core.proxy.records import Feedback
from mpo_core.proxy.store import Store
from tests.callers import GOOD, talk

READS = {
    "conversations": [
        lambda store: store.conversation("c0"),
        lambda store: list(store.conversations()),
        lambda store: store.feedback(Feedback(conversation="c0", reward=0.7, at=9.0)),
    ],
    "feedback": [
        lambda store: store.rewards(),
        lambda store: store.counts(),
        lambda store: store.feedback(Feedback(conversation="c0", reward=0.7, at=9.0)),
    ],
    "messages": [lambda store: store.messages("c0")],
}


@pytest.mark.parametrize("record", ["", "{", "5", "{}", '{"id": "c0"}', "null"])
@pytest.mark.parametrize("table", list(READS))
def test_a_damaged_record_is_named_by_its_file(tmp_path, table, record):
    if table == "messages" and record not in ("", "{"):
        record = "["
    talk(tmp_path, "v1", [GOOD], tasks=1)
    with Store(tmp_path / "proxy") as store:
        store.record_messages("c0", [])
        column = "messages" if table == "messages" else "record"
        with sqlite3.connect(store.path) as database:
            database.execute("DROP INDEX by_plan")
            database.execute(f"UPDATE {table} SET {column} = ?", (record,))
        database.close()
        for read in READS[table]:
            with pytest.raises(InputError, match=r"proxy\.db: a record in it is damaged"):
                read(store)
