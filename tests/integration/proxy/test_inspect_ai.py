"""A harness of others, inspect_ai with a task and its own ReAct agent, that talks to the proxy
alone: its conversations get plans, and its scores come back as feedback."""

import json

from tests.foreign import installed, run_with
from tests.planning_proxy import file_of_plans, planning_proxy

TASKS = {f"How warm is pot {k}?": f"Step 1: Heat pot {k}.\nStep 2: Say it." for k in range(3)}

HARNESS = """
import json, sys
import httpx
from inspect_ai import Task, eval, task
from inspect_ai.agent import as_solver, react
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.scorer import accuracy, includes, scorer
from inspect_ai.solver import solver
from inspect_ai.tool import tool

url, logs = sys.argv[1], sys.argv[2]


@tool
def heat():
    async def execute(pot: str):
        '''Heat a pot.

        Args:
            pot: which.
        '''
        return f"{pot} is 100 degrees warm."

    return execute


@solver
def named():
    # Several attempts of one task begin with the same words: each says which one it is.
    async def solve(state, generate):
        name = f"{state.sample_id}-{state.epoch}"
        config = GenerateConfig(extra_headers={"X-MPO-Conversation": name})
        model = get_model("openai-api/mpo/agent", base_url=url, api_key="k", config=config)
        return await as_solver(react(tools=[heat()], model=model))(state, generate)

    return solve


@scorer(metrics=[accuracy()])
def reported():
    judge = includes()

    async def score(state, target):
        found = await judge(state, target)
        reward = {"C": 1.0, "I": 0.0}[found.value]
        said = {"conversation": f"{state.sample_id}-{state.epoch}", "reward": reward}
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{url}/mpo/feedback", json=said)
        assert answer.json()["result"] == "stored", answer.text
        return found

    return score


@task
def pots():
    samples = [
        Sample(f"How warm is pot {k}?", target=f"{100 + k % 2} degrees", id=f"pot{k}")
        for k in range(3)
    ]
    return Task(dataset=samples, solver=named(), scorer=reported(), epochs=2)


[log] = eval(pots(), model="openai-api/mpo/agent", model_base_url=url,
             model_args={"api_key": "k"}, log_dir=logs, display="none")
assert log.status == "success", log.error
print(json.dumps({f"{s.id}-{s.epoch}": s.scores["reported"].value for s in log.samples}))
"""


def agent(body):
    """What the agent's model says, a tool call at a time: it heats as its plan says, then tells."""
    told = json.dumps(body["messages"])
    pot = next((f"pot {k}" for k in range(3) if f"Heat pot {k}." in told), "no pot")
    done = [message for message in body["messages"] if message["role"] == "tool"]
    name = "submit" if done else "heat"
    given = {"answer": done[-1]["content"]} if done else {"pot": pot}
    call = {"name": name, "arguments": json.dumps(given)}
    message = {"role": "assistant", "content": "I do."}
    message["tool_calls"] = [{"id": f"call_{len(done)}", "type": "function", "function": call}]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"]}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    return {**head, "choices": [choice], "usage": usage}


def test_its_conversations_get_plans_and_its_scores_come_back(tmp_path):
    folder = installed(tmp_path / "inspect", "inspect_ai==0.3.285", "openai")
    plans = file_of_plans(tmp_path / "proxy", TASKS)
    with planning_proxy(tmp_path / "proxy", planners=plans) as proxy:
        proxy.upstream.answer = agent
        scored = json.loads(run_with(folder, HARNESS, proxy.url, str(tmp_path / "logs")))
        # The plan was followed: the pot that it names is the one that was heated.
        assert scored == {f"pot{k}-{n}": "CIC"[k] for k in range(3) for n in (1, 2)}
        with proxy.store() as store:
            known = {c.id: c for c in store.conversations()}
            assert {c.task: c.plan for c in known.values()} == TASKS
            rewards = {id: feedback.reward for id, feedback in store.rewards().items()}
        assert rewards == {id: {"C": 1.0, "I": 0.0}[score] for id, score in scored.items()}
        assert known.keys() == scored.keys()
