"""OpenTelemetry spans by the semantic conventions for generative AI, as OTLP's JSON: a trace an
episode, a line each, as OTLP's file exporter writes them and collectors read them.

A record says how long an episode took and neither when nor how its turns shared the time. So spans
end when the run's ledger was last written, the turns have equal parts, and `mpo.time` says that the
times are made up from these.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mpo_core.interchange.played import (
    Exchange,
    Played,
    as_json,
    conversation,
    suite_version,
    writable,
)
from mpo_core.types import Message, content_hash

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"
INTERNAL, CLIENT = 1, 3
ERROR = 2
TOOL = "act"
LONGEST_S = 10**8
"""Of an episode: what would leave the 64 bits of a time in nanoseconds is no length of one."""


def resource_spans(played: Played) -> dict[str, Any]:
    """An episode's trace: a span `invoke_agent`, below it a `chat` and an `execute_tool` a turn.

    The environment's own solution was no model's: its turns have the tool's spans alone.
    """
    of_suite = {"service.name": "mpo-suite", "service.version": suite_version()}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(of_suite | {"mpo.run": played.run})},
                "scopeSpans": [
                    {
                        "scope": {"name": "mpo_core.interchange", "version": suite_version()},
                        "spans": list(_spans(played)),
                        "schemaUrl": SCHEMA_URL,
                    }
                ],
                "schemaUrl": SCHEMA_URL,
            }
        ]
    }


def write(episodes: Iterable[Played], path: Path) -> None:
    """Write a file of traces, one a line."""
    with path.open("w", encoding="utf-8") as file:
        for played in episodes:
            file.write(as_json(resource_spans(played)) + "\n")


def _spans(played: Played) -> Iterator[dict[str, Any]]:
    one = played.episode
    opening, exchanges = conversation(one)
    until = int(played.until * 1e9)
    length = int(min(max(one.seconds, 0), LONGEST_S) * 1e9) if one.seconds == one.seconds else 0
    begun = max(until - length, 0)
    until = begun + length
    yield _invocation(played, opening, exchanges, begun=begun, until=until)
    asked: tuple[Message, ...] = tuple(opening)
    for number, exchange in enumerate(exchanges, start=1):
        start = begun + length * (number - 1) // len(exchanges)
        end = begun + length * number // len(exchanges)
        if played.by_model or exchange.turn.action is None:
            yield _chat(played, number, exchange, asked, start=start, end=end)
        if exchange.turn.action is not None:
            yield _tool(played, number, exchange, end)
        asked = exchange.shown


def _invocation(
    played: Played,
    opening: list[Message],
    exchanges: list[Exchange],
    *,
    begun: int,
    until: int,
) -> dict[str, Any]:
    one = played.episode
    about = {**played.about, "key": one.key}
    own = {f"mpo.{name}": value for name, value in about.items() if name != "run"}
    verdict = {
        "gen_ai.evaluation.name": "reward",
        "gen_ai.evaluation.score.value": float(one.reward),
        "gen_ai.evaluation.score.label": "success" if one.success else one.end,
    }
    answer = [_reply(exchanges[-1])] if exchanges else []
    unanswered = exchanges[-1].shown if exchanges else ()
    return {
        "traceId": _trace(played),
        "spanId": _span(played, 0, "agent"),
        "name": "invoke_agent mpo",
        "kind": INTERNAL,
        "startTimeUnixNano": str(begun),
        "endTimeUnixNano": str(until),
        "attributes": _attributes(
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": "mpo-suite",
                "gen_ai.agent.name": "mpo",
                "gen_ai.conversation.id": played.called,
                "gen_ai.request.model": one.model,
                "gen_ai.usage.input_tokens": one.prompt_tokens,
                "gen_ai.usage.output_tokens": one.completion_tokens,
                "gen_ai.input.messages": as_json([_message(m) for m in opening]),
                "gen_ai.output.messages": as_json(answer),
                "mpo.unanswered.messages": (
                    as_json([_message(m) for m in unanswered]) if unanswered else None
                ),
                "mpo.time": "made up of the episode's seconds",
                **own,
            }
        ),
        "events": [
            {
                "timeUnixNano": str(until),
                "name": "gen_ai.evaluation.result",
                "attributes": _attributes(verdict),
            }
        ],
    }


def _chat(
    played: Played,
    number: int,
    exchange: Exchange,
    asked: tuple[Message, ...],
    *,
    start: int,
    end: int,
) -> dict[str, Any]:
    """Asking the model for a turn: with the messages that are new, since all of them in each span
    would make a trace that grows with the square of its turns."""
    reply = _reply(exchange)
    return {
        "traceId": _trace(played),
        "spanId": _span(played, number, "chat"),
        "parentSpanId": _span(played, 0, "agent"),
        "name": writable(f"chat {played.episode.model}"),
        "kind": CLIENT,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(end),
        "attributes": _attributes(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "mpo-suite",
                "gen_ai.conversation.id": played.called,
                "gen_ai.request.model": played.episode.model,
                "gen_ai.input.messages": as_json([_message(m) for m in asked]),
                "gen_ai.output.messages": as_json([reply]),
                "gen_ai.response.finish_reasons": [reply["finish_reason"]],
                **_of_turn(number, exchange),
            }
        ),
    }


def _tool(played: Played, number: int, exchange: Exchange, at: int) -> dict[str, Any]:
    """The environment's step."""
    turn = exchange.turn
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": TOOL,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": f"{played.episode.key}-{number}",
        "gen_ai.tool.call.arguments": as_json({"action": turn.action}),
        "gen_ai.tool.call.result": turn.observation,
        **_of_turn(number, exchange),
    }
    if not played.by_model:
        # There is no chat that could tell it.
        attributes["mpo.turn.reply"] = turn.reply
        attributes["mpo.turn.reasoning"] = turn.reasoning or None
    span = {
        "traceId": _trace(played),
        "spanId": _span(played, number, "tool"),
        "parentSpanId": _span(played, 0, "agent"),
        "name": f"execute_tool {TOOL}",
        "kind": INTERNAL,
        "startTimeUnixNano": str(at),
        "endTimeUnixNano": str(at),
    }
    if not turn.understood:
        attributes["error.type"] = "not_understood"
        span["status"] = {"code": ERROR, "message": "no action that the environment knows"}
    return {**span, "attributes": _attributes(attributes)}


def _of_turn(number: int, exchange: Exchange) -> dict[str, Any]:
    turn = exchange.turn
    found: dict[str, Any] = {
        "mpo.turn": number,
        "mpo.turn.score": turn.score,
        "mpo.turn.understood": turn.understood,
        "mpo.turn.fault": turn.fault or None,
        "mpo.turn.reply": turn.reply if turn.reply != exchange.said else None,
    }
    if turn.action is None:
        # No tool was called that could tell it.
        found["mpo.turn.observation"] = turn.observation
    return found


def _message(message: Message) -> dict[str, Any]:
    parts = [{"type": "text", "content": message.get("content", "")}]
    return {"role": message.get("role", "user"), "parts": parts}


def _reply(exchange: Exchange) -> dict[str, Any]:
    turn = exchange.turn
    parts = [{"type": "reasoning", "content": turn.reasoning}] if turn.reasoning else []
    parts.append({"type": "text", "content": exchange.said})
    reason = "length" if turn.fault == "cut" else "stop"
    return {"role": "assistant", "parts": parts, "finish_reason": reason}


def _trace(played: Played) -> str:
    """A trace's id: an episode exported again is the same trace."""
    return content_hash("trace", *_identity(played), length=32)


def _span(played: Played, number: int, kind: str) -> str:
    return content_hash(kind, number, *_identity(played), length=16)


def _identity(played: Played) -> tuple[str, ...]:
    return tuple(writable(part) for part in (played.run, played.stage, played.episode.key))


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    """OTLP's list of typed values; what is None is left out."""
    return [
        {"key": key, "value": _value(value)} for key, value in values.items() if value is not None
    ]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        # As protocol buffers spell what JSON has no number for.
        special = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
        return {"doubleValue": special.get(str(value), value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": writable(value)}
