"""Harbor's Agent Trajectory Interchange Format: a JSON document an episode.

The version named is the oldest that has all the fields used, so that older readers take it too.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mpo_core.interchange.played import (
    Exchange,
    Played,
    as_json,
    conversation,
    suite_version,
)
from mpo_core.types import Message, content_hash

SCHEMA = "ATIF-v1.7"
ACT = "act"
"""What a tool call is named that stands for an action read from a reply."""


def trajectory(played: Played) -> dict[str, Any]:
    """An episode as an ATIF trajectory.

    The action of a turn is a tool call of its step, with the observation as its result. A step's
    `extra` has the turn's score and faults, the trajectory's `extra` the plan, the reward and the
    rest of what is known.
    """
    one = played.episode
    opening, exchanges = conversation(one)
    steps = [_opening_step(played, message) for message in opening]
    steps += [_agent_step(played, number, e) for number, e in enumerate(exchanges, start=1)]
    # A trajectory holds a step at least.
    steps = steps or [{"source": "user", "message": played.task}]
    return {
        "schema_version": SCHEMA,
        "session_id": played.called,
        "trajectory_id": one.key,
        "agent": {"name": "mpo-suite", "version": suite_version(), "model_name": one.model},
        "steps": [{"step_id": number, **step} for number, step in enumerate(steps, start=1)],
        "final_metrics": {
            "total_prompt_tokens": one.prompt_tokens,
            "total_completion_tokens": one.completion_tokens,
            "total_steps": len(steps),
            "extra": {"reward": one.reward, "success": one.success, "seconds": one.seconds},
        },
        "extra": played.about,
    }


def _opening_step(played: Played, message: Message) -> dict[str, Any]:
    role, text = message.get("role", "user"), message.get("content", "")
    if role == "assistant" and played.conversation is not None:
        # All that a caller's agent was sent and has said: which is an example is not known.
        return {"source": "agent", "message": text}
    if role == "assistant":
        # A worked example: said by nobody in this episode.
        return {"source": "agent", "message": text, "is_copied_context": True}
    if role in ("system", "user"):
        return {"source": role, "message": text}
    return {"source": "user", "message": text, "extra": {"role": role}}


def _agent_step(played: Played, number: int, exchange: Exchange) -> dict[str, Any]:
    turn = exchange.turn
    call = f"{played.episode.key}-{number}"
    result: dict[str, Any] = {"content": turn.observation}
    step: dict[str, Any] = {
        "source": "agent",
        "message": exchange.said,
        "llm_call_count": int(played.by_model),
    }
    if turn.reasoning and played.by_model:
        step["reasoning_content"] = turn.reasoning
    if turn.action is not None:
        arguments = {"action": turn.action}
        step["tool_calls"] = [{"tool_call_id": call, "function_name": ACT, "arguments": arguments}]
        result["source_call_id"] = call
    if exchange.observation_in is not None:
        result["extra"] = {"message": exchange.observation_in}
    step["observation"] = {"results": [result]}
    step["extra"] = {"score": turn.score, "understood": turn.understood, "fault": turn.fault}
    if turn.reply != exchange.said:
        step["extra"]["reply"] = turn.reply
    if turn.reasoning and not played.by_model:
        step["extra"]["reasoning"] = turn.reasoning
    return step


def write(episodes: Iterable[Played], out: Path) -> None:
    """Write trajectories: into an empty folder as `STAGE/KEY.json`, into a file one a line."""
    if out.is_dir():
        for played in episodes:
            path = out / played.stage / f"{_file_name(played.episode.key)}.json"
            path.parent.mkdir(exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(as_json(trajectory(played)))
        return
    with out.open("w", encoding="utf-8") as file:
        for played in episodes:
            file.write(as_json(trajectory(played)) + "\n")


def _file_name(key: str) -> str:
    """The key, which is a hash; of any other text its hash."""
    plain = key.isascii() and key.isalnum() and len(key) < 80
    return key if plain else content_hash(repr(key))
