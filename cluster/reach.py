"""Whether a Ray cluster is at an address: asked in seconds, before Ray would try for minutes."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster.address import Address, host_and_port
from mpo_core.errors import InputError

CONNECT_S = 5
ANSWER_S = 10
LONGEST_REASON = 400


def reach_cluster(address: Address) -> str:
    """`HOST:PORT` of a cluster that is there.

    Raises:
        InputError: in seconds, where none answers at the address.
    """
    gcs = address.text
    if gcs == "auto":
        from cluster.ray_node import cluster_found_here

        with _settled("RAY_ADDRESS", None):
            try:
                gcs = cluster_found_here()
            except ConnectionError as error:
                raise InputError(
                    f"{address}: no Ray cluster is found on this machine; start one by ray start "
                    f"--head, or give a cluster's HOST:PORT{_or_unset(address)}"
                ) from error
            except ValueError as error:
                raise InputError(f"{address}: no Ray cluster: {one_line(error)}") from error
    fault = _fault_of_cluster(gcs)
    if fault:
        where = "" if gcs == address.text else f" at {gcs}"
        raise InputError(
            f"{address}: no Ray cluster{where}: {fault}; give a cluster's HOST:PORT"
            f"{_or_unset(address)}"
        )
    return gcs


def _or_unset(address: Address) -> str:
    """Where no cluster was asked for by the config, that a run needs none."""
    return ", or unset it for a private cluster" if address.setting == "RAY_ADDRESS" else ""


def check_node(address: Address) -> None:
    """Raises InputError where this machine is no node of a cluster, so that no driver can join."""
    from cluster.ray_node import is_a_node

    deadline = time.monotonic() + CONNECT_S
    while not is_a_node():
        if time.monotonic() > deadline:
            raise InputError(
                f"{address}: the cluster is there, but this machine is no node of it; submit the "
                "run as a job: mpo run CONFIG --on ray --address http://HOST:8265"
            )
        time.sleep(0.5)


def reach_dashboard(address: Address) -> str:
    """URL of a dashboard that is there.

    Raises:
        InputError: in seconds, where none answers at the address.
    """
    url = address.text if "://" in address.text else _dashboard_of(address)
    fault = _fault_of_dashboard(url)
    if fault:
        where = "" if url == address.text else f" at {url}"
        raise InputError(f"{address}: no Ray dashboard{where}: {fault}")
    return url


def job_client(url: str) -> Any:
    """Ray's client for jobs of the dashboard at a URL, whatever the environment says."""
    from ray.job_submission import JobSubmissionClient

    # Ray prefers this variable to RAY_ADDRESS, and that to the argument.
    with _settled("RAY_API_SERVER_ADDRESS", url):
        return JobSubmissionClient(url)


def one_line(error: BaseException | str) -> str:
    """An error's whole text in one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


def _fault_of_cluster(gcs: str) -> str | None:
    """Why no Ray cluster's control service is at HOST:PORT; None where one is."""
    host, port = host_and_port(gcs)
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except (OSError, UnicodeError) as error:
        return _reason(error)
    import grpc
    from ray.exceptions import AuthenticationError

    from cluster.ray_node import ask_if_alive

    try:
        ask_if_alive(gcs, ANSWER_S)
    except AuthenticationError as error:
        return one_line(error)
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return (
                "it asks for another token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or "
                "RAY_AUTH_TOKEN_PATH"
            )
        return f"what listens there does not answer as Ray does ({error.code().name.lower()})"
    return None


def _dashboard_of(address: Address) -> str:
    """The dashboard of a cluster that is named by its HOST:PORT, or of one found here."""
    gcs = address.text
    if gcs == "auto":
        gcs = reach_cluster(address)
    elif fault := _fault_of_cluster(gcs):
        # Perhaps the dashboard's, without http://.
        url = f"http://{gcs}"
        if _fault_of_dashboard(url) is None:
            return url
        raise InputError(
            f"{address}: neither a Ray cluster nor its dashboard: {fault}; a dashboard's address "
            "is http://HOST:8265"
        )
    from cluster.ray_node import dashboard_of

    found = dashboard_of(gcs, ANSWER_S)
    if not found:
        raise InputError(
            f"{address}: the cluster has no dashboard, which takes the jobs; start it by ray start "
            "--head --include-dashboard=true"
        )
    return f"http://{found}"


def _fault_of_dashboard(url: str) -> str | None:
    """Why no dashboard is at a URL; None where one is."""
    import requests
    from ray.exceptions import AuthenticationError

    from cluster.ray_node import refused_token, token_headers

    try:
        reply = requests.get(
            f"{url}/api/version",
            headers=token_headers(),
            timeout=(CONNECT_S, ANSWER_S),
        )
        refusal = refused_token(reply.status_code, reply.text)
        answer = reply.json()
    except AuthenticationError as error:
        return one_line(error)
    except requests.exceptions.JSONDecodeError:
        answer = None
    except requests.exceptions.ProxyError as error:
        return (
            f"the proxy of HTTP_PROXY or HTTPS_PROXY: {_reason(error)}; NO_PROXY names the hosts "
            "that are asked without it"
        )
    except (requests.exceptions.RequestException, ValueError) as error:
        return _reason(error)
    if refusal:
        return one_line(refusal)
    if isinstance(answer, dict) and "ray_version" in answer:
        return None
    return f"what listens there does not answer as Ray does (HTTP status {reply.status_code})"


def _reason(error: BaseException) -> str:
    """What the system said of a connection that failed: the innermost cause that has words."""
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "no answer"
    words = one_line(error)
    cause: BaseException | None = error
    while cause is not None:
        words = getattr(cause, "strerror", None) or words
        cause = cause.__cause__ or cause.__context__
    return words


@contextmanager
def _settled(variable: str, value: str | None) -> Iterator[None]:
    """An environment variable with another value for a moment."""
    before = os.environ.pop(variable, None)
    if value is not None:
        os.environ[variable] = value
    try:
        yield
    finally:
        os.environ.pop(variable, None)
        if before is not None:
            os.environ[variable] = before
