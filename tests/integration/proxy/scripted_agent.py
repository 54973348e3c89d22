"""An agent behind an OpenAI-compatible endpoint, and a harness that lets it play: a scripted agent
that follows the plan it finds in its messages, in the toy world (`tests.integration.method`).

The harness talks to the endpoint that it is given, and reports rewards there. It knows nothing of
plans.
"""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

import httpx

from mpo_core import aio
from mpo_core.models import request_seed
from mpo_core.plan_text import read_plan
from mpo_core.types import Task
from tests.integration.method.toy_world import PLACES, SLIP, House

MODEL = "scripted-agent"
STEPS = 3
AT_ONCE = 16


def reply(messages: Sequence[dict[str, str]], seed: int) -> str:
    """The next step of the plan that stands with the task, or a walk somewhere; without a plan, a
    guess where the thing is, and then it is taken."""
    told, turn = messages[0]["content"], sum(m["role"] == "assistant" for m in messages)
    random = Random(seed)
    if random.random() < SLIP:
        return f"go to the {random.choice(list(PLACES))}"
    plan = read_plan(told).text
    if plan is not None:
        steps = plan.splitlines()
        return steps[min(turn, len(steps) - 1)].partition(": ")[2].rstrip(".").lower()
    if turn == 0:
        return f"go to the {random.choice(list(PLACES))}"
    return f"take the {told.split()[2]}"


@contextmanager
def endpoint() -> Iterator[str]:
    """The agent's base URL, as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Agent)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Played:
    """What the harness sees of an attempt."""

    task: Task
    reward: float
    arm: str
    """As the answer's header names it."""


def harness(url: str, name: str, tasks: Sequence[Task], attempts: int) -> list[Played]:
    """Let the agent at an endpoint attempt each task several times, and report each reward.

    Args:
        url: base URL of the endpoint, which is a proxy's.
        name: of this benchmark, which its conversations are named after.
    """

    async def all_of_them() -> list[Played]:
        slots = asyncio.Semaphore(AT_ONCE)
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:

            async def one(task: Task, attempt: int) -> Played:
                async with slots:
                    return await _attempt(client, f"{name}/{task.id}/{attempt}", task)

            return await aio.together(one(task, k) for k in range(attempts) for task in tasks)

    return aio.run(all_of_them())


async def _attempt(client: httpx.AsyncClient, conversation: str, task: Task) -> Played:
    house, arm = House(), ""
    start = await house.reset(task)
    messages = [{"role": "user", "content": start.instruction}]
    reward = 0.0
    for step in range(STEPS):
        asked = {"model": MODEL, "messages": messages, "seed": request_seed(conversation, step)}
        answer = await client.post(
            "chat/completions", json=asked, headers={"X-MPO-Conversation": conversation}
        )
        answer.raise_for_status()
        arm = answer.headers["x-mpo-arm"]
        action = answer.json()["choices"][0]["message"]["content"]
        messages.append({"role": "assistant", "content": action})
        done = await house.step(action)
        messages.append({"role": "user", "content": done.observation})
        reward = done.score
        if done.done:
            break
    told = {"conversation": conversation, "reward": reward}
    (await client.post("mpo/feedback", json=told)).raise_for_status()
    return Played(task, reward, arm)


class _Agent(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = {"role": "assistant", "content": reply(body["messages"], body["seed"])}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
        whole = {"id": "a", "object": "chat.completion", "choices": [choice], "usage": usage}
        data = json.dumps(whole).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass
