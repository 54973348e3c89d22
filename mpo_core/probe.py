"""What an endpoint takes of what a config will ask of it, found out in a few tokens.

Asked before anything is paid for: a wrong address, key, model name or context ends the run here,
and what the server lacks is done without from the first request on (`mpo_core.endpoint`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mpo_core.chat import ChatRequest
from mpo_core.config import Config, EndpointModelConfig
from mpo_core.endpoint import EndpointModel
from mpo_core.episode import STOP, STOP_ACTING
from mpo_core.errors import ContextFull, InputError, ModelUnavailable
from mpo_core.types import Message

TOKENS = 16
RETRIES = 2
SITUATION = "You play a text game. You stand in a small room with a closed door."
ACT = "Answer with one line:\nAction: one action"
THINK_AND_ACT = "Answer in two lines:\nThought: what you conclude\nAction: one action"
FIRST_THOUGHT = "Thought: I look at the door first.\n"
PLAN = "Write a plan of two steps, one a line, for making tea."


# Of an endpoint that the loop does not ask, such as a teacher without SFT.
ANY = ChatRequest([{"role": "user", "content": PLAN}], temperature=0.7, max_tokens=TOKENS)


@dataclass(frozen=True)
class Finding:
    """What an endpoint was found to be."""

    asked: frozenset[str]
    """What of `endpoint.SAID` the config's requests hold."""
    lacks: frozenset[str]
    """What of these the server does not take."""
    context: int | None
    """Tokens, where the server says."""
    thinks: bool
    """Whether it showed reasoning."""

    def __str__(self) -> str:
        words = {"n": "n", "seed": "seed", "stop": "stop", "prefill": "a given beginning"}
        taken = [text for field, text in words.items() if field in self.asked - self.lacks]
        refused = [text for field, text in words.items() if field in self.asked & self.lacks]
        parts = [f"takes {', '.join(taken)}" if taken else "answers"]
        if refused:
            parts.append(f"does without {', '.join(refused)}")
        parts.append(f"context {self.context or 'not told'}" + (" tokens" * bool(self.context)))
        if self.thinks:
            parts.append("thinks before it answers, which counts against max_tokens")
        return "; ".join(parts)


def needs_of(config: Config) -> dict[str, list[ChatRequest]]:
    """Key in `models` of every endpoint that the config's loop asks -> requests like those that
    its planner, agent or teacher will make."""
    planner, agent, seeds = config.planner, config.agent, config.seeds
    plan, samples = ANY.messages, config.evaluation.plan_samples
    at_once = max(planner.per_task, samples)
    draws = ChatRequest(plan, at_once, planner.temperature, planner.max_tokens)
    plays = _agents_need(config)
    needs = [
        (planner.model, draws),
        (agent.model, plays),
        # Some servers take no temperature of 0, or no other than it: found out before it is met.
        *_otherwise(planner.model, draws, planner.evaluation_temperature),
        *_otherwise(agent.model, plays, config.evaluation.temperature),
    ]
    if seeds.teacher and (planner.sft or "teacher" in config.evaluation.arms):
        at_once = max(seeds.per_task, samples)
        teach = ChatRequest(plan, at_once, seeds.temperature, seeds.max_tokens)
        needs.append((seeds.teacher, teach))
    found: dict[str, list[ChatRequest]] = {}
    for name, need in needs:
        if isinstance(config.models[name], EndpointModelConfig):
            found.setdefault(name, []).append(need)
    return found


def _otherwise(name: str, need: ChatRequest, temperature: float) -> list[tuple[str, ChatRequest]]:
    """The same need with the evaluation's temperature, where one of both is 0."""
    if bool(temperature) == bool(need.temperature):
        return []
    return [(name, replace(need, n=1, temperature=temperature))]


async def probe(model: EndpointModel, needs: Sequence[ChatRequest]) -> Finding:
    """Ask an endpoint what it will be asked, for the first `TOKENS` of each answer; the model has
    then learnt what its server lacks.

    Raises:
        InputError: the endpoint cannot be reached, refuses what it must take, or has too short a
            context.
    """
    needs = needs or (ANY,)
    asked: set[str] = set()
    thinks = False
    try:
        for need in needs:
            short = min(TOKENS, need.max_tokens)
            replies = await model.chat(replace(need, max_tokens=short, seed=1))
            thinks = thinks or any(r.reasoning or r.fault == "only reasoning" for r in replies)
            asked |= {"seed"} | ({"n"} if need.n > 1 else set())
            asked |= {"stop"} if need.stop else set()
            asked |= {"prefill"} if need.beginning is not None else set()
    except InputError as error:
        rows = await _models(model) if "HTTP 404" in str(error) else []
        names = [row["id"] for row in rows if isinstance(row.get("id"), str)]
        if names and model.name not in names:
            raise InputError(f"{error}; the server lists {', '.join(names[:5])}") from error
        raise
    except ContextFull as error:
        raise InputError(f"{model.where}: not even a short prompt fits: {error}") from error
    except ModelUnavailable as error:
        raise InputError(f"{error}; is the server up, and the address right?") from error
    context = _context(await _models(model), model.name)
    longest = max(need.max_tokens for need in needs)
    if context is not None and longest >= context:
        raise InputError(
            f"{model.where}: an answer of {longest} tokens (max_tokens) does not fit its context "
            f"of {context}; lower max_tokens"
        )
    return Finding(frozenset(asked), model.lacks, context, thinks)


def for_probing(model: EndpointModel, timeout_s: float | None = None) -> EndpointModel:
    """The same endpoint, asked with less patience."""
    config = model.config
    limits: dict[str, float] = {"retries": min(config.retries, RETRIES)}
    if timeout_s is not None:
        limits["timeout_s"] = min(config.timeout_s, timeout_s)
    hasty = config.model_copy(update=limits)
    return EndpointModel(model.key, hasty, model.fingerprint, model.address)


def _context(rows: Sequence[dict[str, Any]], name: str) -> int | None:
    """A model's context length in tokens, where its server's list of models tells it."""
    row = next((row for row in rows if row.get("id") == name), rows[0] if len(rows) == 1 else {})
    meta = row.get("meta")
    for key in ("max_model_len", "context_length", "context_window", "max_context_length"):
        if isinstance(row.get(key), int):
            return row[key]
    n_ctx = meta.get("n_ctx") if isinstance(meta, dict) else None
    return n_ctx if isinstance(n_ctx, int) else None


async def _models(model: EndpointModel) -> list[dict[str, Any]]:
    """The models that the server lists; none where it has no such list, as many."""
    try:
        listed = await model.get("/models")
    except (InputError, ContextFull, ModelUnavailable):
        return []
    rows = listed.get("data") if isinstance(listed, dict) else listed
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _agents_need(config: Config) -> ChatRequest:
    agent = config.agent
    told = THINK_AND_ACT if agent.thoughts else ACT
    messages: list[Message] = [{"role": "user", "content": f"{SITUATION}\n\n{told}"}]
    begins = FIRST_THOUGHT if agent.plan_mode == "thought" else ""
    begins += "" if agent.thoughts else "Action:"
    if begins:
        messages.append({"role": "assistant", "content": begins})
    stop = STOP if agent.thoughts else STOP_ACTING
    return ChatRequest(messages, 1, config.scoring.temperature, agent.max_tokens, stop=stop)
