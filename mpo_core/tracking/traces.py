"""Episodes as MLflow's traces: the planner's call, in it the episode, in that a span a turn.

Ids are hashes of what is traced, so that a trace which is sent again is the same one. An episode's
record says how long it took, not when: its turns share its time evenly.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mpo_core.inert import inert, shortened
from mpo_core.types import Episode, Message, Task, content_hash

NS = 1_000_000
"""In a millisecond."""
PREVIEW = 500


def trace_of(
    run: str, stage: str, episode: Episode, task: Task, *, asked: Sequence[Message], origin: str
) -> dict[str, Any]:
    """What a queue holds of an episode that is to be a trace; no text in it has an effect.

    Args:
        run: key of the run that it belongs to.
        asked: what the planner was asked for the plan with.
        origin: of the plan; empty where that is not known.
    """
    prompts = _prompts(episode)
    return {
        "id": f"tr-{content_hash(run, stage, episode.key, length=32)}",
        "stage": stage,
        "episode": episode.key,
        "task": {"id": _shown(episode.task_id), "env": task.env, "type": _shown(task.type)},
        "description": _shown(task.description),
        "planner": None
        if episode.plan is None
        else {
            "asked": [_message(m) for m in asked],
            "plan": _shown(episode.plan),
            "plan_id": episode.plan_id,
            "origin": _shown(origin),
        },
        "model": _shown(episode.model),
        "turns": [
            {
                "prompt": prompt,
                "reply": _shown(turn.reply),
                "reasoning": _shown(turn.reasoning),
                "action": None if turn.action is None else _shown(turn.action),
                "observation": _shown(turn.observation),
                "reward": turn.score,
                "fault": turn.fault,
            }
            for turn, prompt in zip(episode.turns, prompts, strict=True)
        ],
        "reward": episode.reward,
        "success": episode.success,
        "end": episode.end,
        "seconds": episode.seconds,
        "tokens": [episode.prompt_tokens, episode.completion_tokens],
    }


def _prompts(episode: Episode) -> list[list[Message]]:
    """What was new to the model at each turn: at the first, the conversation until then."""
    turns = len(episode.turns)
    said = [k for k, message in enumerate(episode.messages) if message["role"] == "assistant"]
    ends = said[len(said) - turns :] if turns and len(said) >= turns else []
    starts = [0, *(end + 1 for end in ends)]
    prompts = [
        [_message(m) for m in episode.messages[start:end]]
        for start, end in zip(starts, ends, strict=False)
    ]
    return prompts + [[]] * (turns - len(prompts))


def _message(message: Message) -> Message:
    return {key: _shown(value) for key, value in message.items()}


def _shown(text: str) -> str:
    return inert(shortened(text))


def spans_of(trace: dict[str, Any], at_ms: int) -> list[Any]:
    """The trace's spans (`mlflow.entities.Span`), the first one the root.

    Args:
        at_ms: when the episode was logged, which its spans end by.
    """
    end = at_ms * NS
    start = end - max(1, int(trace["seconds"] * 1000)) * NS
    spans, planner = [], trace["planner"]
    if planner:
        step = _Step("planner", None, "LLM", {"messages": planner["asked"]})
        told = {key: planner[key] for key in ("plan_id", "origin")}
        spans.append(_span(trace, step, (start, end), {"plan": planner["plan"]}, told))
    given = {"task": trace["description"], "plan": planner["plan"] if planner else None}
    step = _Step("episode", "planner" if planner else None, "AGENT", given)
    outcome = {key: trace[key] for key in ("reward", "success", "end")}
    spans.append(_span(trace, step, (start, end), outcome, trace["task"]))
    share = (end - start) // max(1, len(trace["turns"]))
    for number, turn in enumerate(trace["turns"]):
        begun = start + number * share
        step = _Step(f"turn {number + 1}", "episode", "CHAT_MODEL", {"messages": turn["prompt"]})
        said = {"role": "assistant", "content": turn["reply"]}
        outputs = {"choices": [{"message": said}], "action": turn["action"]}
        told = {k: turn[k] for k in ("action", "observation", "reward", "fault", "reasoning")}
        told["model"] = trace["model"]
        spans.append(_span(trace, step, (begun, begun + share), outputs, told))
    return spans


@dataclass(frozen=True)
class _Step:
    """What a span stands for."""

    name: str
    """No other's in its trace."""
    parent: str | None
    kind: str
    inputs: Any


def trace_info(trace: dict[str, Any], at_ms: int, experiment_id: str, run_id: str) -> Any:
    """The trace (`mlflow.entities.TraceInfo`), with its reward as feedback."""
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    took = max(1, int(trace["seconds"] * 1000))
    steps = f" after {len(trace['turns'])} steps" if trace["turns"] else ""
    end = f"reward {trace['reward']:.2f}, {trace['end']}{steps}"
    tags = {
        "mlflow.traceName": f"{trace['stage']} {trace['task']['id']}"[:250],
        "mpo.stage": trace["stage"],
        "mpo.env": trace["task"]["env"],
        "mpo.type": trace["task"]["type"][:250],
        "mpo.task": trace["task"]["id"][:1000],
        "mpo.episode": trace["episode"],
        "mpo.plan_origin": trace["planner"]["origin"][:250] if trace["planner"] else "none",
    }
    feedback = [_feedback(trace, at_ms, name) for name in ("reward", "success")]
    return TraceInfo(
        trace_id=trace["id"],
        trace_location=TraceLocation.from_experiment_id(experiment_id),
        request_time=at_ms - took,
        execution_duration=took,
        state=TraceState.OK,
        request_preview=trace["description"][:PREVIEW],
        response_preview=end,
        client_request_id=trace["episode"],
        trace_metadata={
            "mlflow.sourceRun": run_id,
            "mlflow.trace.tokenUsage": _usage(*trace["tokens"]),
        },
        tags=tags,
        assessments=feedback,
    )


def _usage(prompt: int, completion: int) -> str:
    usage = {"input_tokens": prompt, "output_tokens": completion}
    return json.dumps(usage | {"total_tokens": prompt + completion})


def _feedback(trace: dict[str, Any], at_ms: int, name: str) -> Any:
    from mlflow.entities import AssessmentSource, Feedback

    found = Feedback(
        name=name,
        value=trace[name],
        source=AssessmentSource(source_type="CODE", source_id=trace["task"]["env"]),
        trace_id=trace["id"],
        create_time_ms=at_ms,
        last_update_time_ms=at_ms,
    )
    # By an id of its own, a feedback that is sent again is the same one.
    found.assessment_id = f"a-{content_hash(trace['id'], name, length=32)}"
    return found


def _span(
    trace: dict[str, Any],
    step: _Step,
    times: tuple[int, int],
    outputs: Any,
    attributes: dict[str, Any],
) -> Any:
    from mlflow.entities import Span
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

    def context(of: str) -> SpanContext:
        span_id = int(content_hash(trace["id"], of, length=16), 16)
        trace_id = int(trace["id"].removeprefix("tr-"), 16)
        return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(1))

    all_of_it = {
        "mlflow.traceRequestId": trace["id"],
        "mlflow.spanType": step.kind,
        "mlflow.spanInputs": step.inputs,
        "mlflow.spanOutputs": outputs,
        **attributes,
    }
    start, end = times
    return Span(
        ReadableSpan(
            name=step.name,
            context=context(step.name),
            parent=None if step.parent is None else context(step.parent),
            resource=Resource({"service.name": "mpo"}),
            attributes={key: json.dumps(value) for key, value in all_of_it.items()},
            status=Status(StatusCode.OK),
            start_time=start,
            end_time=end,
        )
    )
