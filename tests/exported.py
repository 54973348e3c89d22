"""Episodes to export, also with texts that nobody would write, and what is read back of them."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import strategies as st

from mpo_core.interchange import Played
from mpo_core.types import Episode, Turn

# Half characters, NULs, control characters and those that change a text's direction among them.
hostile = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=12),
    st.sampled_from(
        ["", "\0", "\ud83d", "\ude00\ud83d", "</script>\u202e", '"\\u0000{', "\r\n\x85"]
    ),
)
keys = st.one_of(st.text("0123456789abcdef", min_size=20, max_size=20), hostile)


@st.composite
def turns(draw) -> Turn:
    return Turn(
        reply=draw(hostile),
        action=draw(st.none() | hostile),
        observation=draw(hostile),
        score=draw(st.floats(0, 1)),
        reasoning=draw(hostile),
        fault=draw(st.sampled_from(["", "cut", "no action line"])),
        understood=draw(st.booleans()),
    )


@st.composite
def episodes(draw) -> Played:
    """An episode with its conversation, with a part of one, or with none."""
    played = draw(st.lists(turns(), max_size=3))
    messages = [
        {"role": role, "content": draw(hostile)}
        for role in draw(st.lists(st.sampled_from(["system", "user", "assistant"]), max_size=3))
    ]
    for turn in played if draw(st.booleans()) else []:
        said = turn.reply if draw(st.booleans()) else draw(hostile)
        messages.append({"role": "assistant", "content": said})
        shown = draw(st.sampled_from([f"Observation: {turn.observation}", turn.observation, None]))
        messages += [] if shown is None else [{"role": "user", "content": shown}]
    plan = draw(st.none() | hostile)
    episode = Episode(
        key=draw(keys),
        task_id=draw(hostile),
        plan_id=None if plan is None else "p",
        plan=plan,
        plan_mode=draw(st.sampled_from(["query", "observation", "thought"])),
        model=draw(st.sampled_from(["expert", "agent-1"])),
        repetition=draw(st.integers(0, 9)),
        messages=messages,
        turns=played,
        reward=draw(st.floats(0, 1)),
        success=draw(st.booleans()),
        end=draw(st.sampled_from(["done", "failed", "step_limit", "invalid_limit", "context"])),
        prompt_tokens=draw(st.integers(0, 10**6)),
        completion_tokens=draw(st.integers(0, 10**6)),
        seconds=draw(st.floats(0, 1e6)),
    )
    return Played(
        episode,
        arm=draw(st.sampled_from(["none", "expert", "given", "mpo", "mpo, sft sampled"])),
        env=draw(hostile),
        type=draw(hostile),
        split=draw(st.sampled_from(["train", "unseen", ""])),
        task=draw(hostile),
        stage=draw(st.sampled_from(["scoring", "evaluation"])),
        run=draw(hostile),
        until=draw(st.floats(0, 4e9)),
    )


def read_atif(document: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A trajectory's turns and what it says about the episode."""
    found = []
    for step in document["steps"]:
        if "observation" in step:
            extra, [result] = step["extra"], step["observation"]["results"]
            calls = step.get("tool_calls", [])
            found.append(
                {
                    "reply": extra.get("reply", step["message"]),
                    "action": calls[0]["arguments"]["action"] if calls else None,
                    "observation": result["content"],
                    "score": extra["score"],
                    "reasoning": step.get("reasoning_content", extra.get("reasoning", "")),
                    "fault": extra["fault"],
                    "understood": extra["understood"],
                }
            )
    return found, document["extra"] | {"key": document["trajectory_id"]}


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """OTLP's attributes as they are in JSON's types."""

    def value(of: dict[str, Any]) -> Any:
        [(kind, given)] = of.items()
        if kind == "arrayValue":
            return [value(one) for one in given["values"]]
        return {"intValue": int, "doubleValue": float}.get(kind, lambda one: one)(given)

    return {one["key"]: value(one["value"]) for one in attributes}


def read_otel(document: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The same of a trace."""
    [resource] = document["resourceSpans"]
    [scope] = resource["scopeSpans"]
    root, *spans = ({**span, **plain(span["attributes"])} for span in scope["spans"])
    by_turn: dict[int, dict[str, Any]] = {}
    for span in spans:
        found = by_turn.setdefault(span["mpo.turn"], {"action": None, "reasoning": "", "reply": ""})
        found |= {"score": span["mpo.turn.score"], "understood": span["mpo.turn.understood"]}
        found["fault"] = span.get("mpo.turn.fault", "")
        if span["gen_ai.operation.name"] == "chat":
            [message] = json.loads(span["gen_ai.output.messages"])
            texts = {part["type"]: part["content"] for part in message["parts"]}
            found["reasoning"] = texts.get("reasoning", "")
            found["reply"] = span.get("mpo.turn.reply", texts["text"])
            found["observation"] = span.get("mpo.turn.observation")
        else:
            found["reply"] = span.get("mpo.turn.reply", found["reply"])
            found["reasoning"] = span.get("mpo.turn.reasoning", found["reasoning"])
            found["action"] = json.loads(span["gen_ai.tool.call.arguments"])["action"]
            found["observation"] = span["gen_ai.tool.call.result"]
    about = {name.removeprefix("mpo."): value for name, value in root.items()}
    about |= {"run": plain(resource["resource"]["attributes"])["mpo.run"]}
    return list(by_turn.values()), about


def read_inspect(sample: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The same of a sample."""
    found, messages = [], sample["messages"]
    for at, message in enumerate(messages):
        if message.get("source") != "generate":
            continue
        known, content = message["metadata"], message["content"]
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        texts = {part["type"]: part.get("text", part.get("reasoning")) for part in parts}
        observation = known.get("observation")
        if observation is None:
            observation = messages[at + 1]["content"].removeprefix("Observation: ")
        found.append(
            {
                "reply": known.get("reply", texts["text"]),
                "action": known.get("action"),
                "observation": observation,
                "score": known["score"],
                "reasoning": texts.get("reasoning", ""),
                "fault": known.get("fault", ""),
                "understood": known["understood"],
            }
        )
    return found, sample["metadata"]


def documents(form: str, out: Path) -> list[Any]:
    """All that an export holds, an episode each: read as any JSON or Parquet file."""
    if form == "hf":
        return [
            row
            for path in sorted(out.rglob("*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]
    if form == "inspect":
        found = []
        for path in sorted(out.glob("*.eval")):
            with zipfile.ZipFile(path) as log:
                names = [name for name in log.namelist() if name.startswith("samples/")]
                found += [json.loads(log.read(name)) for name in names]
        return found
    paths = sorted(out.rglob("*.json")) if out.is_dir() else [out]
    return [
        json.loads(line) for path in paths for line in path.read_text("utf-8").split("\n") if line
    ]


READ = {
    "atif": read_atif,
    "otel": read_otel,
    "inspect": read_inspect,
    "hf": lambda row: (row["turns"], row),
}
