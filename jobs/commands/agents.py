"""The planner in front of agents of one's own, and what they earn: `mpo proxy`, `feedback`."""

from collections import Counter
from pathlib import Path
from typing import Annotated, get_args

import typer

from jobs.commands.options import Overrides
from jobs.rendering import console
from mpo_core.errors import InputError
from mpo_core.proxy.store import Kept

app = typer.Typer()
NOT_COUNTED: dict[Kept, str] = {
    "late": "another final reward came before, and counts",
    "unknown": "the proxy has no such conversation",
}
"""What becomes of a report that does not count -> why."""


@app.command(
    epilog="Examples:\n\n"
    "`mpo proxy http://HOST:8000/v1 --model llama-8b --upstream http://HOST:8000/v1` (any model as "
    "the planner), then give your agent the base URL http://127.0.0.1:8100/v1\n\n"
    "`mpo proxy plans.jsonl --upstream https://HOST/v1 proxy.off=0.1` (plans by their tasks' "
    'texts, a line `{"task": ..., "plan": ...}` each; a tenth of the conversations without)\n\n'
    "`mpo proxy runs/mine --upstream http://HOST:8000/v1 --workers 2` (what it trained)\n\n"
    "`mpo proxy runs/proxy --upstream http://HOST:8000/v1` (go on with a proxy's folder)\n\n"
    "`MPO_PROXY_KEY=... mpo proxy planner/ --upstream http://HOST:8000/v1 proxy.host=0.0.0.0`"
)
def proxy(
    planner: Annotated[
        str,
        typer.Argument(
            metavar="PLANNER",
            help="URL of a served planner, a file of plans, a model folder, a run's folder, or the "
            "folder of a proxy.",
        ),
    ],
    overrides: Overrides = None,
    *,
    upstream: Annotated[
        str, typer.Option(metavar="URL", help="The OpenAI-compatible server that answers agents.")
    ],
    model: Annotated[
        str | None, typer.Option(help="The planner's name at its URL, where that has several.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that answer; proxy.workers.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="8100 by default; proxy.port.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Folder with a prompt of your own, feedback/planner.txt.")
    ] = None,
) -> None:
    """Give the conversations of any agent plans: an OpenAI-compatible server before another."""
    from jobs.proxy import check_prompts, planners_of, proxy_settings
    from mpo_core.proxy.serving import serve

    given = {"workers": workers, "port": port}
    named = [f"proxy.{key}={value}" for key, value in given.items() if value is not None]
    settings = proxy_settings([*(overrides or []), *named])
    config, planners = planners_of(planner, model, settings)
    check_prompts(planners, prompts)
    serve(config, planners, upstream, lambda line: console.print(line, soft_wrap=True), prompts)


@app.command(
    epilog="Examples:\n\n`mpo feedback rewards.jsonl` (a line "
    '`{"conversation": ID, "reward": 0.5}` each; `success` and `final` may be given)\n\n'
    "`MPO_PROXY_KEY=... mpo feedback rewards.jsonl --url http://HOST:8100`\n\n"
    "`mpo feedback rewards.jsonl --folder runs/proxy` (into the proxy's folder, on its machine)"
)
def feedback(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Rewards, as JSON lines, a JSON list or Parquet.")
    ],
    *,
    url: Annotated[
        str | None,
        typer.Option(help="The proxy's; MPO_PROXY_URL, else http://127.0.0.1:8100, by default."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="The proxy's folder, in place of its URL.")
    ] = None,
) -> None:
    """Report what conversations have earned; the same file again changes nothing."""
    from mpo_core.proxy.client import keep, read_reports, send

    if url is not None and folder is not None:
        raise InputError("--url, --folder: give one of them")
    reports = read_reports(file)
    kept = Counter(keep(reports, folder) if folder else send(reports, url))
    counts = ", ".join(f"{kept[one]} {one}" for one in get_args(Kept) if kept[one])
    console.print(f"{len(reports)} rewards: {counts or 'none'}", soft_wrap=True)
    for one, means in NOT_COUNTED.items():
        if kept[one]:
            console.print(f"{kept[one]} {one}: {means}", style="yellow", soft_wrap=True)
    if reports and kept["unknown"] == len(reports):
        raise InputError(
            f"{file}: the proxy has none of these conversations; see whether the ids are those of "
            "X-MPO-Conversation, and whether it is this proxy"
        )
