"""What the suite needs of Ray itself that Ray's public interface does not offer.

To join a cluster, `ray.init` is the only public way, and it tries for minutes where none answers;
to keep a cluster private, Ray has no setting. So this module, and it alone, stands on
`ray._private`, `ray._raylet` and `ray.core.generated`, which any release of Ray may move:
`tests/versions/borrowed.py` names what has been. It imports Ray, so it is imported late.
"""

import os

from ray._private import ray_constants, services
from ray._private.accelerators import NvidiaGPUAcceleratorManager
from ray._private.authentication.http_token_authentication import (
    format_authentication_http_error,
    get_auth_headers_if_auth_enabled,
)
from ray._private.grpc_utils import init_grpc_channel
from ray._raylet import AuthenticationTokenLoader, GcsClient
from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub


def cluster_found_here() -> str:
    """`HOST:PORT` of the cluster that `auto` means on this machine.

    Needless when `ray.init` says which cluster it would join without joining it.

    Raises:
        ConnectionError: there is none.
        ValueError: Ray makes nothing of what it found.
    """
    return services.canonicalize_bootstrap_address_or_die("auto")


def is_a_node() -> bool:
    """Whether a node of some cluster runs on this machine.

    Needless when `ray.init` refuses at once where a driver cannot join.
    """
    return bool(services.find_node_ids())


def ask_if_alive(gcs: str, timeout_s: float) -> None:
    """Return when the control service at `HOST:PORT` says that it is alive.

    Needless when `ray.init` takes a time limit.

    Raises:
        ray.exceptions.AuthenticationError: no token can be read here.
        grpc.RpcError: no such answer.
    """
    channel = init_grpc_channel(gcs, ray_constants.GLOBAL_GRPC_OPTIONS)
    try:
        NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=timeout_s)
    finally:
        channel.close()


def dashboard_of(gcs: str, timeout_s: float) -> str | None:
    """`HOST:PORT` of the dashboard of the cluster at `HOST:PORT`; None where it has none.

    Needless when a cluster that was not joined can be asked, as one that was by `dashboard_url`.
    """
    found = GcsClient(address=gcs).internal_kv_get(
        ray_constants.DASHBOARD_ADDRESS.encode(),
        namespace=ray_constants.KV_NAMESPACE_DASHBOARD,
        timeout=timeout_s,
    )
    return found.decode() if found else None


def token_headers() -> dict[str, str]:
    """Headers of a request to a dashboard: the cluster's token, where tokens are asked for.

    Needless, as `refused_token`, when `JobSubmissionClient` takes a time limit.

    Raises:
        ray.exceptions.AuthenticationError: no token can be read here.
    """
    return get_auth_headers_if_auth_enabled({})


def refused_token(status: int, body: str) -> str | None:
    """What a dashboard's answer says of the token; None where it took it."""
    return format_authentication_http_error(status, body)


def can_read_token() -> bool:
    """Whether the user has a token for Ray's clusters.

    Needless, as `forget_token`, when `ray.init` takes a token for the cluster that it starts.

    Raises:
        ray.exceptions.AuthenticationError: RAY_AUTH_TOKEN_PATH names no file with a token.
    """
    return AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)


def forget_token() -> None:
    """Make this process read the token anew: RAY_AUTH_TOKEN has changed."""
    AuthenticationTokenLoader.instance().reset_cache()


def keep_to_loopback() -> None:
    """Make the processes of the next cluster that is started here listen on loopback.

    Ray resolves even 127.0.0.1 to the machine's public address, unless it takes the machine for
    one that cannot have clusters, as it does on macOS by this variable. Needless when `ray.init`
    listens on the address that it is given.
    """
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # For Ray's processes,
    ray_constants.ENABLE_RAY_CLUSTER = False  # and for this one, which has read it already.


def gpus_here() -> int:
    """GPUs that a cluster started on this machine would have.

    Needless when Ray can be asked before one is started, as by `ray.cluster_resources()` after.
    """
    return NvidiaGPUAcceleratorManager.get_current_node_num_accelerators()
