"""`mpo run`: the whole loop, here or on a cluster."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jobs.commands.options import BeginWith, ConfigArgument, Overrides, opened_run
from jobs.configs import named_config
from jobs.rendering import console, print_report, print_work
from mpo_core.errors import InputError

if TYPE_CHECKING:
    from jobs.run import Run

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n`mpo run demo`\n\n"
    "`mpo run demo name=mine seed=1 training.beta=0.05`\n\n"
    "`mpo run runs/mine` (continue an interrupted run)\n\n"
    "`mpo run runs/mine pairs.rule=nested name=nested --from runs/mine` (with its plans and scores)"
    "\n\n"
    "`mpo run my.yaml --on ray --address http://127.0.0.1:8265`\n\n"
    "`mpo run my.yaml --on k8s launch.k8s.overlay=gpu --dry-run` (the manifests)\n\n"
    "`sbatch slurm/mpo_pipeline.sh my.yaml` (on Slurm)"
)
def run(
    config: ConfigArgument,
    overrides: Overrides = None,
    *,
    on: Annotated[
        Literal["local", "ray", "k8s"],
        typer.Option(help="Here, as a job of a running Ray cluster, or on Kubernetes by KubeRay."),
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="--on ray: the cluster's dashboard, http://HOST:8265.")
    ] = None,
    begin_with: BeginWith = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be done, stop.")
    ] = False,
) -> None:
    """Run the whole loop; the same command continues an interrupted run."""
    from jobs.pipeline import run_pipeline
    from jobs.same_run import check_beginning

    if begin_with is not None:
        if on != "local":
            raise InputError("--from: only with --on local; copy the folder where the run is")
        check_beginning(begin_with, named_config(config, overrides or []).run_dir)
    if address is not None and on != "ray":
        raise InputError("--address: only with --on ray")
    if on == "ray":
        raise typer.Exit(_run_on_ray(config, overrides or [], address, dry_run))
    if on == "k8s":
        raise typer.Exit(_run_on_k8s(config, overrides or [], dry_run))
    opened = opened_run(config, overrides, make=not dry_run)
    if dry_run:
        print_work(opened)
    if begin_with is not None:
        line = _begun(begin_with, opened, dry_run)
        console.print(line, soft_wrap=True, highlight=False)
    if dry_run:
        return
    with opened:
        summary = run_pipeline(opened)
    print_report(opened.files.report, summary)


def _begun(folder: Path, run: "Run", dry_run: bool) -> str:
    """What the beginning with another run's folder comes to, in a line."""
    from jobs.prospects import in_words, prospects
    from jobs.same_run import begin_with_copy

    if run.dir.exists():
        return f"begun      {run.dir} is there already and goes on; nothing is copied into it"
    found = in_words(prospects(folder, run.config))
    if not dry_run:
        begin_with_copy(folder, run.dir)
    return f"begun with {folder}: {found}"


def _run_on_ray(source: str, overrides: list[str], address: str | None, dry_run: bool) -> int:
    from cluster.ray_job import ray_job, submit_and_follow

    job = ray_job(named_config(source, overrides), source, overrides, address)
    if dry_run:
        print(job)
        return 0

    def ask() -> bool:
        return sys.stdin.isatty() and typer.confirm("Stop the job too?")

    return submit_and_follow(job, lambda line: console.print(line, soft_wrap=True), ask)


def _run_on_k8s(source: str, overrides: list[str], dry_run: bool) -> int:
    from cluster.kubernetes import submit
    from cluster.manifest import render

    config = named_config(source, overrides)
    if dry_run:
        print(render(config), end="")
        return 0
    return submit(config, lambda line: print(line, flush=True))
