"""A run as a job of a running Ray cluster: submitted, followed, its real status returned.

What `ray job submit --working-dir . -- python -m jobs.pipeline CONFIG` does too, whose exit code
does not always tell how the job ended.
"""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.address import Address, dashboard_address
from cluster.credentials import credentials, model_keys, without_passwords
from cluster.reach import job_client, one_line, reach_dashboard
from mpo_core.config import Config
from mpo_core.errors import InputError
from mpo_core.overrides import quoted

LOST_AFTER_S = 600
# Never sent along, wherever they lie in the working directory.
LEFT_AT_HOME = [
    "/.git/",
    "/.venv/",
    "/.venv-gpu/",
    "**/__pycache__/",
    "**/.pytest_cache/",
    "**/.ruff_cache/",
]


@dataclass(frozen=True)
class RayJob:
    """What is submitted, and where to."""

    address: Address
    entrypoint: str
    runtime_env: dict[str, Any]
    unset: tuple[str, ...] = ()
    """Variables of keys that the config names, and that are not set here."""

    def __str__(self) -> str:
        """Without the values of environment variables, and without passwords in URLs."""
        shown = {"address": self.address.text, "entrypoint": self.entrypoint}
        shown |= self.runtime_env | {"env_vars": sorted(self.runtime_env.get("env_vars", {}))}
        shown |= {"not set here": ", ".join(self.unset)}
        lines = [f"{key:<12} {value}" for key, value in shown.items() if value]
        return without_passwords("\n".join(lines))


def ray_job(
    config: Config,
    source: str,
    overrides: Sequence[str],
    address: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> RayJob:
    """The job that runs a config.

    Args:
        source: the config's name, file or run folder, as `mpo run` takes it.
        address: of the cluster's dashboard, before the config's and RAY_ADDRESS.

    Raises:
        InputError: the config's file is not in the working directory, so the job would not see
            it; or the address is of another kind.
    """
    settings = config.launch.ray
    found = dashboard_address(address, settings.address, environment)
    runs_dir = config.runs_dir.resolve()
    home = settings.working_dir.resolve() if settings.working_dir else None
    if home and not home.is_dir():
        raise InputError(f"launch.ray.working_dir: {home}: no such folder")
    # A job runs in a copy of the working directory, which is gone afterwards.
    settled = [override for override in overrides if not override.startswith("runs_dir=")]
    arguments = [
        _seen_by_job(source, home, runs_dir),
        *settled,
        f"runs_dir={quoted(str(runs_dir))}",
    ]
    names = dict.fromkeys([*settings.env_vars, *credentials(config)])
    runtime_env: dict[str, Any] = {
        "env_vars": {name: environment[name] for name in names if environment.get(name)}
    }
    if home:
        excludes = list(LEFT_AT_HOME)
        if runs_dir.is_relative_to(home):
            excludes.append(f"/{runs_dir.relative_to(home)}/")
        runtime_env |= {"working_dir": str(home), "excludes": excludes}
    missing = {name: key for name, key in model_keys(config).items() if not environment.get(name)}
    return RayJob(
        found,
        shlex.join(["python", "-m", "jobs.pipeline", *arguments]),
        runtime_env,
        tuple(f"{name} ({key})" for name, key in missing.items()),
    )


def submit_and_follow(
    job: RayJob, say: Callable[[str], None], ask_to_stop: Callable[[], bool]
) -> int:
    """Submit a job, print its log, and wait for its end.

    Args:
        ask_to_stop: called at Ctrl-C; whether to stop the job too.

    Returns:
        The exit code of the job's entrypoint; 130 where it was stopped or left running, 1 where it
        failed without one.

    Raises:
        InputError: no cluster answers at the address, or it asks for another token.
    """
    from ray.exceptions import AuthenticationError

    url = reach_dashboard(job.address)
    try:
        client = job_client(url)
        job_id = client.submit_job(entrypoint=job.entrypoint, runtime_env=job.runtime_env)
    except (AuthenticationError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{job.address}: {one_line(error)}") from error
    say(f"job {job_id} at {url}")
    follow = f"RAY_API_SERVER_ADDRESS={url} ray job logs --follow {job_id}"
    try:
        _follow(client, job_id)
    except KeyboardInterrupt:
        if ask_to_stop():
            client.stop_job(job_id)
            say(f"stopping job {job_id}")
        else:
            say(f"job {job_id} goes on; {follow}")
        return 130
    except (RuntimeError, OSError) as error:
        say(f"job {job_id}: lost sight of it ({one_line(error)}); it may go on: {follow}")
        return 1
    info = client.get_job_info(job_id)
    say(f"job {job_id}: {info.status}")
    if info.status == "SUCCEEDED":
        return 0
    if info.status == "STOPPED":
        return 130
    if info.driver_exit_code is None:
        say(info.message or "")
    return info.driver_exit_code or 1


def _follow(client: Any, job_id: str) -> None:
    """Print the job's log as it comes, until the job has ended.

    Raises RuntimeError or OSError where the dashboard has not answered for long.
    """
    import aiohttp

    async def tail(skip: int) -> int:
        """Print from a character on; returns how many there are."""
        seen = 0
        async for lines in client.tail_job_logs(job_id):
            seen += len(lines)
            if seen > skip:
                print(lines[-(seen - skip) :], end="", flush=True)
                skip = seen
        return max(seen, skip)

    printed, seen_at = 0, time.monotonic()
    while True:
        try:
            printed = asyncio.run(tail(printed))
        except (aiohttp.ClientError, RuntimeError, OSError) as error:
            # The connection, not the job: a log's stream is only one way to look at it.
            print(f"following the log again: {one_line(error)}", file=sys.stderr)
        try:
            if client.get_job_status(job_id).is_terminal():
                return
            seen_at = time.monotonic()
        except (RuntimeError, OSError):
            if time.monotonic() - seen_at > LOST_AFTER_S:
                raise
        time.sleep(1)


def _seen_by_job(source: str, home: Path | None, runs_dir: Path) -> str:
    """How a job names the config."""
    path = Path(source)
    if not path.exists():
        return source  # A preset.
    path = path.resolve()
    if home and path.is_relative_to(home) and not path.is_relative_to(runs_dir):
        return str(path.relative_to(home))
    if home is None or path.is_relative_to(runs_dir):
        return str(path)
    raise InputError(
        f"{source}: outside of launch.ray.working_dir ({home}), so the job would not see it"
    )
