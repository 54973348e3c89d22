"""The planning proxy as a Serve application, for `serve deploy` and KubeRay.

    import_path: cluster.proxy_service:build
    args: {upstream: URL, planners: {current: v1, versions: {v1: {endpoint: URL, model: NAME}}}}

It is one replica: the folder that it keeps conversations in lies on its node's disk, or on a volume
that moves with it.
"""

from pathlib import Path

from ray import serve
from ray.serve import Application
from starlette.types import ASGIApp

from mpo_core.config import ProxyConfig, Section
from mpo_core.proxy.access import keys_of
from mpo_core.proxy.app import proxy_app
from mpo_core.proxy.planners import Planners, read_planners, write_planners
from mpo_core.proxy.serving import check_planners, upstream_url

AT_ONCE = 4096
"""Requests under way; those past `proxy.connections` wait for the upstream."""


class ProxyArgs(Section):
    """The application's `args`."""

    upstream: str
    """Base URL of the server that answers."""
    planners: Planners
    """For a folder that does not name its planners yet."""
    proxy: ProxyConfig = ProxyConfig()
    """Its settings. Where it listens is Serve's to say; `host` still says whether a key is needed.
    """
    prompts_dir: Path | None = None
    """A prompt folder of your own."""


def build(args: ProxyArgs) -> Application:
    """The application.

    Raises:
        InputError: a setting is at fault; on the replica, that its folder or planner is.
    """
    upstream = upstream_url(args.upstream)

    def app() -> ASGIApp:
        config = args.proxy
        key, upstream_key = keys_of(config)
        known = read_planners(config.folder)
        check_planners(known or args.planners, config, args.prompts_dir)
        if known is None:
            write_planners(config.folder, args.planners)
        return proxy_app(
            config, upstream, key=key, upstream_key=upstream_key, prompts_dir=args.prompts_dir
        )

    deployment = serve.deployment(
        name="proxy",
        num_replicas=1,
        max_ongoing_requests=AT_ONCE,
        ray_actor_options={"num_cpus": 0.5},
    )
    return deployment(serve.ingress(app)()).bind()
