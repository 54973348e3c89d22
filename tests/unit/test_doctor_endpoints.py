"""What `mpo doctor` says of an endpoint, against `tests.fake_server`."""

import pytest

from jobs.cli import main
from tests.fake_server import Mode, fake_server

ENVS = "{alfworld: {generated: {train: 6, seen: 0, unseen: 6}, tasks: {train: 2, unseen: 2}}}"
CONFIG = [
    "cluster.enabled=false",
    f"envs={ENVS}",
    "planner.model=llm",
    "agent.model=llm",
    "evaluation.arms=[none,base]",
]
TEMPERATURE = "Unsupported value: 'temperature' does not support 0.8 with this model"


@pytest.fixture(autouse=True)
def environments_are_not_played_in(monkeypatch):
    monkeypatch.setattr("jobs.doctor._tried", lambda config: [])


def doctor(capsys, endpoint):
    """What is said of the model."""
    models = f"models={{llm: {{endpoint: '{endpoint}', retries: 0}}}}"
    with pytest.raises(SystemExit):
        main(["doctor", "demo-llm", models, *CONFIG])
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    return next(line for line in lines if "model llm" in line or "models.llm" in line)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "mark", "says"),
    [
        (Mode(context=4096), "ok", "model llm: {url}, OPENAI_API_KEY"),
        (Mode(context=4096), "ok", "takes n, seed, stop, a given beginning; context 4096 tokens"),
        (Mode(refuses={"prefill": (400, "no prefill")}), "warn", "does without a given beginning"),
        (
            Mode(message={"content": None, "reasoning_content": "hm"}),
            "warn",
            "thinks before it answers",
        ),
        (
            Mode(message={"content": None}, finish_reason="length"),
            "warn",
            "thinks before it answers",
        ),
        (Mode(refuses={"temperature": (400, TEMPERATURE)}), "no", "models.llm.omit=[temperature]"),
        (Mode(fails=(401, "Wrong key.")), "no", "models.llm: llm at {url}: HTTP 401"),
        (Mode(fails=(200, "<html>"), content_type="text/html"), "no", "the API's base URL"),
        (Mode(context=16), "no", "does not fit its context of 16; lower max_tokens"),
        (Mode(fails=(400, "prompt is too long: 90 tokens > 4 maximum")), "no", "not even a short"),
    ],
)
def test_the_doctor_says_what_a_server_takes_and_what_to_set(mode, mark, says, capsys):
    with fake_server(mode) as server:
        line = doctor(capsys, server.url)
    assert line.startswith(f"{mark:<5}") and says.format(url=server.url) in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("http://127.0.0.1:9/v1", "connection refused: nothing listens at 127.0.0.1:9"),
        ("http://no-such-host.invalid/v1", "DNS: no such host as no-such-host.invalid"),
        ("127.0.0.1:8000/v1", "is not a whole URL"),
    ],
)
def test_the_doctor_says_why_an_address_does_not_answer(endpoint, says, capsys):
    assert says in doctor(capsys, endpoint)


@pytest.mark.slow
def test_the_doctor_asks_an_endpoint_that_the_loop_does_not_use(capsys):
    with fake_server() as server, fake_server(Mode(fails=(401, "Wrong key."))) as other:
        models = f"models.llm-2={{endpoint: '{other.url}', retries: 0}}"
        with pytest.raises(SystemExit):
            main(
                [
                    "doctor",
                    "demo-llm",
                    f"models={{llm: {{endpoint: '{server.url}'}}}}",
                    models,
                    *CONFIG,
                ]
            )
    assert f"llm-2 at {other.url}: HTTP 401: 'Wrong key.'" in capsys.readouterr().out
