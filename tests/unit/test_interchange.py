"""Episodes in other tools' formats: nothing of them is lost, whatever they hold, and files are
written whole, one episode at a time."""

import asyncio
import base64
import errno
import json
import math
import weakref
import zipfile
from itertools import chain, repeat
from statistics import fmean

import pyarrow.parquet as pq
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes, service_attributes

from mpo_core.completions import Reply
from mpo_core.episode import run_episode
from mpo_core.errors import ContextFull, InputError
from mpo_core.interchange import (
    FORMATS,
    Played,
    atif,
    conversation,
    inspect_logs,
    otel,
    write_episodes,
)
from mpo_core.interchange import dataset as hf
from mpo_core.interchange.played import as_json, writable
from mpo_core.types import Turn
from tests.exported import READ, documents, episodes, plain
from tests.fakes import PROMPTS, Replies, ToyEnvironment, request, task
from tests.thoroughness import examples

OUT = {"atif": "trajectories", "otel": "traces.jsonl", "inspect": "logs", "hf": "dataset"}
DOCUMENT = {
    "atif": atif.trajectory,
    "otel": otel.resource_spans,
    "inspect": lambda played: inspect_logs.sample(played, 1),
}
PLAN = "Step 1: Knock.\nStep 2: Enter."


def play(*texts, plan=PLAN, limit=None, **changes) -> Played:
    """A real episode, with replies as they are given; the context is full after so many."""
    asked = request(plan=plan, **changes)

    class Model(Replies):
        async def chat(self, request) -> list[Reply]:
            if len(self.asked) == limit:
                raise ContextFull("full")
            return await super().chat(request)

    episode = asyncio.run(run_episode(asked, ToyEnvironment(), Model(list(texts)), PROMPTS))
    return Played.of(episode, task(), "mpo", stage="evaluation", run="toy")


def big(number: int, size: int = 2**20) -> Played:
    turn = Turn(reply="r" * size, action="look", observation="o" * size, score=0.0)
    played = play("Action: enter", repetition=number)
    messages = [*played.episode.messages, {"role": "user", "content": "m" * size}]
    episode = played.episode.model_copy(update={"turns": [turn], "messages": messages})
    return Played.of(episode, task(), "mpo")


def span_list(played: Played) -> list[dict]:
    return otel.resource_spans(played)["resourceSpans"][0]["scopeSpans"][0]["spans"]


# ------------------------------------------------------------------ nothing is lost


@pytest.mark.parametrize("form", DOCUMENT)
@given(played=episodes())
def test_a_document_holds_every_turn_and_all_that_is_known_of_the_episode(form, played):
    text = as_json(DOCUMENT[form](played))
    assert text.encode().decode() == text
    turns, about = READ[form](json.loads(text))
    assert turns == writable([turn.model_dump() for turn in played.episode.turns])
    told = {
        name: value for name, value in played.about.items() if form != "otel" or value is not None
    }
    assert about == about | writable(told | {"key": played.episode.key})


@given(played=st.lists(episodes(), min_size=1, max_size=3, unique_by=lambda p: p.episode.key))
@examples(15)
def test_written_episodes_are_read_back_from_every_format(tmp_path_factory, played):
    folder = tmp_path_factory.mktemp("out")
    for form in FORMATS:
        out = folder / OUT[form]
        assert write_episodes(form, iter(played), out) == len(played)
        found = [sorted_json(READ[form](one)[0]) for one in documents(form, out)]
        given = [sorted_json([turn.model_dump() for turn in p.episode.turns]) for p in played]
        # In the log of each of its arms.
        times = [1 + p.arm.count(",") if form == "inspect" else 1 for p in played]
        assert sorted(found) == sorted(chain.from_iterable(map(repeat, given, times)))


def sorted_json(value) -> str:
    return json.dumps(writable(value), sort_keys=True)


@pytest.mark.parametrize("score", [math.inf, -math.inf, math.nan])
def test_a_score_that_is_no_number_makes_no_file_that_readers_refuse(score):
    played = play("Action: enter")
    turn = played.episode.turns[0].model_copy(update={"score": score})
    odd = Played.of(played.episode.model_copy(update={"turns": [turn]}), task(), "mpo")
    for form, document in DOCUMENT.items():
        strictly = json.loads(as_json(document(odd)), parse_constant=pytest.fail)
        [read], _ = READ[form](strictly)
        assert str(read["score"]) == (str(score) if form == "otel" else "None")
    json_format.ParseDict(json.loads(as_json(without_ids(otel.resource_spans(odd)))), TracesData())


def without_ids(document):
    for span in document["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("traceId", "spanId", "parentSpanId"):
            span.pop(name, None)
    return document


@pytest.mark.parametrize("form", FORMATS)
def test_texts_of_a_megabyte_are_written_whole(form, tmp_path):
    played = big(0)
    write_episodes(form, [played], tmp_path / OUT[form])
    [found] = documents(form, tmp_path / OUT[form])
    [turn], _ = READ[form](found)
    assert (turn["reply"], turn["observation"]) == ("r" * 2**20, "o" * 2**20)
    assert "m" * 2**20 in json.dumps(found)


# ------------------------------------------------------------------ what goes where


@pytest.mark.parametrize("mode", ["query", "observation", "thought"])
@pytest.mark.parametrize("example", [True, False])
@pytest.mark.parametrize("list_actions", [0, 2])
def test_a_conversation_is_parted_at_the_agents_own_replies(mode, example, list_actions):
    changes = {"plan_mode": mode, "example": example, "list_actions": list_actions}
    played = play("Action: look", "hm", "Action: enter", **changes)
    opening, exchanges = conversation(played.episode)
    assert [message["role"] for message in opening] == (
        ["user", "assistant", "user"] if example else ["user"]
    )
    assert [exchange.turn for exchange in exchanges] == played.episode.turns
    prefix = PROMPTS.reply_prefix(PLAN, mode)
    assert [e.said for e in exchanges] == [prefix + turn.reply for turn in played.episode.turns]
    again = [*opening]
    for exchange in exchanges:
        again += [{"role": "assistant", "content": exchange.said}, *exchange.shown]
    assert again == played.episode.messages
    plainly_shown = mode != "observation" and not list_actions
    assert all((e.observation_in is None) == plainly_shown for e in exchanges[:-1])
    assert exchanges[-1].shown == () and exchanges[-1].observation_in is None


def test_what_was_asked_and_never_answered_is_kept_by_every_format():
    played = play("Action: look", "Action: knock", limit=1, plan_mode="observation")
    assert played.episode.end == "context" and played.episode.messages[-1]["role"] == "user"
    for document in DOCUMENT.values():
        assert as_json(played.episode.messages[-1]["content"])[1:-1] in as_json(
            document(played)
        ).replace("\\\\", "\\")


def test_a_trajectorys_actions_are_tool_calls_with_their_observations():
    steps = atif.trajectory(play("Action: look", "hm", "Action: enter"))["steps"]
    assert [step["source"] for step in steps] == [
        "user",
        "agent",
        "user",
        "agent",
        "agent",
        "agent",
    ]
    assert [step.get("is_copied_context", False) for step in steps[:3]] == [False, True, False]
    calls = [[c["arguments"]["action"] for c in s.get("tool_calls", ())] for s in steps[3:]]
    assert calls == [["look"], [], ["enter"]]
    assert [step["observation"]["results"][0]["content"] for step in steps[3::2]] == [
        "You look.",
        "You enter.",
    ]


def test_a_trace_is_the_same_when_it_is_exported_again_and_another_for_another_episode():
    one, again, other = (span_list(play("Action: enter", repetition=n)) for n in (0, 0, 1))
    assert [span["spanId"] for span in one] == [span["spanId"] for span in again]
    spans = [*one, *other]
    assert len({span["spanId"] for span in spans}) == len(spans)
    assert len({span["traceId"] for span in spans}) == 2


@given(played=episodes())
def test_spans_are_what_otlp_and_the_semantic_conventions_say(played):
    names = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    assert len(names) > 40
    document = json.loads(as_json(otel.resource_spans(played)))
    [resource] = document["resourceSpans"]
    [scope] = resource["scopeSpans"]
    assert service_attributes.SERVICE_NAME in plain(resource["resource"]["attributes"])
    root, *others = scope["spans"]
    assert [s for s in scope["spans"] if "parentSpanId" not in s] == [root]
    for span in scope["spans"]:
        used = plain(span["attributes"])
        events = [plain(event["attributes"]) for event in span.get("events", ())]
        for name in {name for attributes in (used, *events) for name in attributes}:
            assert name in names | {error_attributes.ERROR_TYPE} or name.startswith("mpo."), name
        operation = used["gen_ai.operation.name"]
        assert operation in {one.value for one in gen_ai_attributes.GenAiOperationNameValues}
        assert span["name"].startswith(operation)
        assert int(root["startTimeUnixNano"]) <= int(span["startTimeUnixNano"])
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        assert int(span["endTimeUnixNano"]) <= int(root["endTimeUnixNano"])
        # OTLP's JSON has ids in hexadecimal, protocol buffers' own in base64.
        for name in ("traceId", "spanId", "parentSpanId"):
            if name in span:
                span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    [parsed] = json_format.ParseDict(document, TracesData()).resource_spans[0].scope_spans
    assert {len(span.trace_id) for span in parsed.spans} == {16}
    assert {span.parent_span_id for span in parsed.spans[1:]} <= {parsed.spans[0].span_id}
    assert len(parsed.spans) == 1 + len(others)


def test_an_action_that_was_not_understood_is_an_error_of_its_tool_alone():
    root, *spans = span_list(play("Action: fly", "Action: enter"))
    assert "status" not in root
    assert [span["name"] for span in spans if "status" in span] == ["execute_tool act"]


def test_a_log_holds_every_attempt_at_a_task_as_an_epoch_and_the_means_over_tasks(tmp_path):
    played = [play("Action: enter", repetition=n) for n in range(2)]
    played += [play("Action: knock", "Action: explode", repetition=2)]
    write_episodes("inspect", played, tmp_path / "logs")
    [log] = (tmp_path / "logs").iterdir()
    assert log.name == "evaluation-mpo.eval"
    found = documents("inspect", tmp_path / "logs")
    assert [one["epoch"] for one in found] == [1, 2, 3]
    assert len({one["id"] for one in found}) == 1
    header = read_member(log, "header.json")
    metrics = header["results"]["scores"][0]["metrics"]
    assert metrics["mean"]["value"] == pytest.approx(fmean([1, 1, 0.5]))
    assert header["eval"]["config"]["epochs"] == 3 and header["eval"]["dataset"]["samples"] == 1
    rows = read_member(log, "summaries.json")
    assert [(row["id"], row["epoch"]) for row in rows] == [(o["id"], o["epoch"]) for o in found]


def read_member(log, name):
    with zipfile.ZipFile(log) as file:
        return json.loads(file.read(name))


def test_an_episode_of_several_arms_is_in_the_log_of_each_and_other_agents_have_their_own(tmp_path):
    played = play("Action: enter")
    other = played.episode.model_copy(update={"model": "other"})
    both = Played.of(played.episode, task(), "mpo, sft sampled", stage="evaluation")
    write_episodes(
        "inspect", [both, Played.of(other, task(), "mpo", stage="evaluation")], tmp_path / "l"
    )
    assert sorted(path.name for path in (tmp_path / "l").iterdir()) == [
        "evaluation-mpo-2.eval",
        "evaluation-mpo.eval",
        "evaluation-sft-sampled.eval",
    ]


@pytest.mark.slow
def test_a_dataset_loads_without_a_network_with_a_split_a_stage(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    played = play("Action: look", "Action: enter")
    scored = Played(
        played.episode, "sft", "toy", "door", "train", "Open.", "scoring", "a: [run]\ud83d"
    )
    write_episodes("hf", [played, scored], tmp_path / "d")
    found = datasets.load_dataset(str(tmp_path / "d"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in found.items()} == {"evaluation": 1, "scoring": 1}
    [row] = found["evaluation"]
    assert row["messages"] == played.episode.messages
    assert row["turns"] == [turn.model_dump() for turn in played.episode.turns]
    assert (row["plan"], row["reward"], row["success"], row["steps"]) == (PLAN, 1.0, True, 2)
    assert (row["arm"], row["env"], row["type"], row["model"]) == ("mpo", "toy", "door", "model")
    card = (tmp_path / "d" / "README.md").read_text("utf-8")
    assert all(f"| `{name}` |" in card for name in found["scoring"].column_names)


# ------------------------------------------------------------------ whole, and one at a time


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "No space left on device"), InputError("gone")]
)
def test_an_export_that_fails_leaves_nothing(form, fault, tmp_path):
    def broken():
        yield play("Action: enter")
        raise fault

    with pytest.raises(InputError, match=r"No space left on device; free|gone"):
        write_episodes(form, broken(), tmp_path / OUT[form])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_no_episodes_are_refused_and_nothing_is_written(form, tmp_path):
    with pytest.raises(InputError, match="no episodes"):
        write_episodes(form, [], tmp_path / OUT[form])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "name", "said"),
    [
        ("otel", "traces", "ends in .jsonl"),
        ("hf", "d.jsonl", "without .jsonl"),
        ("inspect", "d.jsonl", "without .jsonl"),
        ("atif", "full", "exists already"),
        ("atif", "full/file", "exists already"),
        ("atif", "lines.jsonl", "exists already"),
        ("otel", "empty.jsonl", "exists already"),
    ],
)
def test_a_place_that_does_not_fit_or_holds_something_is_refused(form, name, said, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "lines.jsonl").touch()
    (tmp_path / "empty.jsonl").mkdir()
    with pytest.raises(InputError, match=said):
        write_episodes(form, [play("Action: enter")], tmp_path / name)


def test_trajectories_in_a_file_are_one_a_line(tmp_path):
    played = [play("Action: enter", repetition=n) for n in range(3)]
    write_episodes("atif", played, tmp_path / "all.jsonl")
    write_episodes("atif", played, tmp_path / "each")
    lines, files = (documents("atif", tmp_path / name) for name in ("all.jsonl", "each"))
    assert sorted(map(as_json, lines)) == sorted(map(as_json, files))
    names = {
        path.relative_to(tmp_path / "each").as_posix()
        for path in (tmp_path / "each").rglob("*.json")
    }
    assert names == {f"evaluation/{one.episode.key}.json" for one in played}


@pytest.mark.parametrize("form", FORMATS)
def test_one_episode_is_in_memory_at_a_time(form, tmp_path):
    living: list[weakref.ref] = []

    def one_by_one():
        for number in range(6):
            assert sum(ref() is not None for ref in living) <= 1
            played = play("Action: enter", repetition=number)
            living.append(weakref.ref(played))
            yield played
            del played

    assert write_episodes(form, one_by_one(), tmp_path / OUT[form]) == 6


def test_a_datasets_rows_are_written_in_groups_of_some_megabytes(tmp_path):
    write_episodes("hf", (big(number) for number in range(6)), tmp_path / "d")
    file = pq.ParquetFile(tmp_path / "d" / "data" / "episodes.parquet")
    assert file.metadata.num_rows == 6
    assert file.metadata.num_row_groups >= 6 * 3 * 2**20 // (hf.AT_ONCE + 3 * 2**20)
