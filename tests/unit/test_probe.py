"""What an endpoint is asked at the start of a run, against `tests.fake_server`."""

import asyncio
from pathlib import Path

import pytest

from mpo_core.chat import ChatRequest
from mpo_core.config import EndpointModelConfig, load_config
from mpo_core.errors import InputError, ModelUnavailable
from mpo_core.models import connect
from mpo_core.probe import needs_of, probe
from tests.fake_server import Mode, fake_server

PRESETS = Path(__file__).parents[2] / "jobs" / "presets"
ASKED = ({"role": "user", "content": "Write a plan."},)


def found(mode, *needs, **replaced):
    with fake_server(mode) as server:
        model = connect("llm", EndpointModelConfig(endpoint=server.url, retries=0))
        for name, value in replaced.items():
            setattr(model, name, value)

        async def run():
            try:
                return await probe(model, needs)
            finally:
                await model.close()

        return asyncio.run(run())


def test_a_server_without_a_list_of_models_can_be_used():
    async def broken(path):
        raise ModelUnavailable("HTTP 500: boom")

    finding = found(Mode(), ChatRequest(ASKED, 2, 0.8, 64), get=broken)
    assert finding.context is None and finding.asked == {"seed", "n"}


@pytest.mark.slow
def test_a_context_shorter_than_the_longest_answer_is_told():
    needs = [ChatRequest(ASKED, 1, 0.8, 32), ChatRequest(ASKED, 1, 0.8, 64)]
    with pytest.raises(InputError, match="an answer of 64 tokens"):
        found(Mode(context=48), *needs)


@pytest.mark.parametrize(
    ("scoring", "evaluation", "temperatures"), [(0.8, 0.0, [0.8, 0.0]), (0.8, 0.4, [0.8])]
)
def test_what_only_the_evaluation_asks_for_is_asked_for(scoring, evaluation, temperatures):
    config = load_config(
        PRESETS / "demo-llm.yaml",
        [
            "models={llm: {endpoint: 'http://a/v1'}}",
            "planner.model=llm",
            "agent.model=llm",
            "evaluation.arms=[none,base]",
            f"planner.temperature={scoring}",
            f"planner.evaluation_temperature={evaluation}",
            f"scoring.temperature={scoring}",
            f"evaluation.temperature={evaluation}",
        ],
    )
    asked = [(need.messages, need.temperature) for need in needs_of(config)["llm"]]
    for messages in (asked[0][0], asked[1][0]):
        assert [temperature for own, temperature in asked if own == messages] == temperatures


@pytest.mark.parametrize(
    ("samples", "arms", "asked"),
    [(0, "[base]", {"llm": 4}), (9, "[base]", {"llm": 9}), (9, "[teacher]", {"llm": 9, "t": 9})],
)
def test_an_endpoint_is_asked_for_as_many_plans_as_the_evaluation_samples(samples, arms, asked):
    overrides = [
        "models={llm: {endpoint: 'http://a/v1'}, t: {endpoint: 'http://b/v1'}}",
        *("planner.model=llm", "agent.model=llm", "seeds.teacher=t"),
        *(f"evaluation.arms={arms}", f"evaluation.plan_samples={samples}"),
    ]
    needs = needs_of(load_config(PRESETS / "demo-llm.yaml", overrides))
    assert {name: max(need.n for need in of_model) for name, of_model in needs.items()} == asked


def test_a_model_that_the_server_does_not_know_is_met_with_its_list():
    unknown = (404, {"error": {"message": "The model does not exist."}})
    with pytest.raises(InputError, match=r"does not exist.*the server lists fake"):
        found(Mode(fails=unknown), ChatRequest(ASKED, 1, 0.8, 64))
