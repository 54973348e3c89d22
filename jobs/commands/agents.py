"""The planner in front of agents of one's own: `mpo proxy`."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import Overrides
from jobs.rendering import console

app = typer.Typer()


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
        Path | None, typer.Option(help="Folder of prompts of your own; feedback/planner.txt.")
    ] = None,
) -> None:
    """Give the conversations of any agent plans: an OpenAI-compatible server before another."""
    from jobs.proxy import planners_of, proxy_settings
    from mpo_core.proxy.serving import serve

    given = {"workers": workers, "port": port}
    named = [f"proxy.{key}={value}" for key, value in given.items() if value is not None]
    settings = proxy_settings([*(overrides or []), *named])
    config, planners = planners_of(planner, model, settings)
    serve(config, planners, upstream, lambda line: console.print(line, soft_wrap=True), prompts)
