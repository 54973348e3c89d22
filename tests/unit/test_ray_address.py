"""Which Ray cluster is meant, and that one which is not there is known in seconds."""

import os
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import reach
from cluster.address import Address, cluster_address, dashboard_address, host_and_port
from cluster.backend import ClusterBackend
from cluster.reach import job_client, reach_cluster, reach_dashboard
from jobs.cli import main
from jobs.configs import named_config
from mpo_core.errors import InputError
from mpo_core.hardware import free_port
from tests.ray_dashboard import Dashboard, Website


@pytest.mark.parametrize("value", [None, "", "  ", "local"])
def test_without_an_address_the_cluster_is_a_private_one(value):
    assert cluster_address(None, {"RAY_ADDRESS": value} if value is not None else {}) is None


@pytest.mark.parametrize(
    ("asked", "variable", "found"),
    [
        (None, "auto", "RAY_ADDRESS: auto"),
        (None, "10.0.0.1:6379", "RAY_ADDRESS: 10.0.0.1:6379"),
        (None, " [::1]:6379 ", "RAY_ADDRESS: [::1]:6379"),
        ("head:6379", "10.0.0.1:6379", "cluster.address: head:6379"),
        ("head:6379", "http://10.0.0.1:8265", "cluster.address: head:6379"),
        # As Ray has it: the variable says what `auto` is.
        ("auto", "10.0.0.1:6379", "RAY_ADDRESS: 10.0.0.1:6379"),
        ("auto", "", "cluster.address: auto"),
    ],
)
def test_the_configs_address_comes_before_the_environments(asked, variable, found):
    assert str(cluster_address(asked, {"RAY_ADDRESS": variable})) == found


WRONG = [
    ("http://127.0.0.1:8265", "dashboard's address, .* HOST:PORT .*--on ray --address http://127"),
    ("https://ray.example/", "dashboard's address"),
    ("ray://127.0.0.1:10001", "cannot be driven through ray://; .*--on ray"),
    ("anyscale://cluster", "cannot be driven through anyscale://"),
    ("head", "not of the form HOST:PORT"),
    ("::1:6379", "not of the form HOST:PORT"),
    ("10.0.0.1:6379/", "not of the form HOST:PORT"),
    ("head:port", "'port' is no port"),
    ("head:65536", "'65536' is no port"),
]


@pytest.mark.parametrize(("wrong", "says"), WRONG)
def test_an_address_of_the_wrong_form_is_one_whole_line(wrong, says, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", wrong)
    with pytest.raises(InputError, match=f"^RAY_ADDRESS: .*{says}") as caught:
        ClusterBackend(named_config("demo-llm")).connect()
    assert "\n" not in str(caught.value) and "unset it" in str(caught.value)
    with pytest.raises(InputError, match=f"^cluster.address: .*{says}"):
        cluster_address(wrong, {})


@given(st.text(max_size=20))
def test_whatever_is_given_is_an_address_or_one_line(text):
    for which in (
        lambda: cluster_address(text, {}),
        lambda: dashboard_address(None, None, {"RAY_ADDRESS": text}),
    ):
        try:
            found = which()
        except InputError as error:
            assert text.strip() in str(error)
        else:
            assert (
                found is None
                or "://" in found.text
                or found.text == "auto"
                or host_and_port(found.text)
            )


@pytest.mark.parametrize(
    ("asked", "configured", "environment", "found"),
    [
        ("http://b", "http://c", {"RAY_ADDRESS": "http://a"}, "--address: http://b"),
        (None, "http://c/", {"RAY_ADDRESS": "http://a"}, "launch.ray.address: http://c"),
        (
            None,
            None,
            {"RAY_ADDRESS": "http://a", "RAY_API_SERVER_ADDRESS": "http://d"},
            "RAY_API_SERVER_ADDRESS: http://d",
        ),
        (None, None, {"RAY_ADDRESS": "10.0.0.1:6379"}, "RAY_ADDRESS: 10.0.0.1:6379"),
        (None, None, {"RAY_ADDRESS": ""}, "--address: http://127.0.0.1:8265"),
    ],
)
def test_a_jobs_address_is_the_nearest_one_given(asked, configured, environment, found):
    assert str(dashboard_address(asked, configured, environment)) == found


@pytest.fixture
def nobody() -> int:
    return free_port()


@pytest.fixture
def silent():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def website():
    with Website() as server:
        yield server.port


@pytest.fixture
def dashboard():
    with Dashboard() as server:
        yield server.port


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("nobody", "Connection refused"),
        ("silent", "does not answer as Ray does"),
        ("website", "does not answer as Ray does"),
        ("dashboard", "does not answer as Ray does"),
    ],
)
@pytest.mark.parametrize("setting", ["RAY_ADDRESS", "cluster.address"])
def test_where_no_cluster_is_a_run_ends_in_seconds(request, monkeypatch, server, says, setting):
    monkeypatch.setattr(reach, "ANSWER_S", 0.5)
    port = request.getfixturevalue(server)
    variable = f"127.0.0.1:{port}" if setting == "RAY_ADDRESS" else "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", variable)
    given = [f"cluster.address=127.0.0.1:{port}"] if setting == "cluster.address" else []
    started = time.monotonic()
    with pytest.raises(
        InputError, match=f"^{setting}: 127.0.0.1:{port}: no Ray .*{says}"
    ) as caught:
        ClusterBackend(named_config("demo-llm", given)).connect()
    assert time.monotonic() - started < 20
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("nobody", "Connection refused"),
        ("silent", "no answer"),
        ("website", "does not answer as Ray does"),
    ],
)
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_where_no_dashboard_is_a_submission_ends_in_seconds(
    request, monkeypatch, server, says, scheme
):
    monkeypatch.setattr(reach, "ANSWER_S", 0.5)
    address = f"{scheme}127.0.0.1:{request.getfixturevalue(server)}"
    with pytest.raises(InputError, match=f"^--address: {address}: n") as caught:
        reach_dashboard(Address(address, "--address"))
    assert "\n" not in str(caught.value)
    if scheme:
        assert says in str(caught.value)


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_dashboard_is_found_with_or_without_its_scheme(dashboard, scheme):
    address = Address(f"{scheme}127.0.0.1:{dashboard}", "--address")
    assert reach_dashboard(address) == f"http://127.0.0.1:{dashboard}"


def test_a_host_that_nobody_knows_is_named():
    with pytest.raises(InputError, match=r"no\.such\.host\.invalid:6379: no Ray cluster: .*known"):
        reach_cluster(Address("no.such.host.invalid:6379", "RAY_ADDRESS"))


@pytest.mark.parametrize("variable", ["RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"])
def test_the_client_asks_the_address_given_whatever_the_environment_says(monkeypatch, variable):
    with Dashboard() as there, Dashboard() as elsewhere:
        monkeypatch.setenv(variable, elsewhere.url)
        before = dict(os.environ)
        job_client(there.url)
        assert dict(os.environ) == before
        assert there.asked and not elsewhere.asked


@pytest.mark.parametrize(
    ("asked", "unset"), [("auto", False), ("", True)], ids=["cluster.address", "RAY_ADDRESS"]
)
def test_where_none_runs_auto_is_one_line_that_says_what_else_to_give(monkeypatch, asked, unset):
    def nothing(*_):
        raise ConnectionError("Please specify the one to connect to by setting `--address`")

    services = "ray._private.services.canonicalize_bootstrap_address_or_die"
    monkeypatch.setattr(services, nothing)
    address = cluster_address(asked, {"RAY_ADDRESS": "" if asked else "auto"})
    with pytest.raises(InputError, match=r": auto: no Ray cluster .*HOST:PORT") as said:
        reach_cluster(address)
    assert "--address" not in str(said.value)
    assert ("unset it" in str(said.value)) == unset


def dry_run(tmp_path, *overrides: str) -> int | None:
    settings = [
        f"runs_dir={tmp_path}",
        "envs={scienceworld: {}}",
        "models={m: {endpoint: http://127.0.0.1:1/v1}}",
        "planner.model=m",
        "agent.model=m",
        "evaluation.arms=[none]",
    ]
    with pytest.raises(SystemExit) as ended:
        main(["run", "demo-llm", *settings, *overrides, "--dry-run"])
    return ended.value.code or 0


@pytest.mark.parametrize(
    ("variable", "says"),
    [("", "a private one on this machine"), ("10.0.0.1:6379", "RAY_ADDRESS: 10.0.0.1:6379")],
)
def test_a_dry_run_says_which_cluster_would_be_joined(
    monkeypatch, tmp_path, capsys, variable, says
):
    monkeypatch.setenv("RAY_ADDRESS", variable)
    assert dry_run(tmp_path) == 0
    assert f"cluster    {says}\n" in capsys.readouterr().out


def test_a_dry_run_refuses_an_address_that_the_run_would(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert dry_run(tmp_path) == 2
    assert "this is a dashboard's address" in capsys.readouterr().err
    assert dry_run(tmp_path, "cluster.enabled=false") == 0
