"""The `mpo` command. Exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted, 1
anything else."""

import contextlib
import io
import logging
import os
import signal
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.configs import named_config, preset_names, run_name
from mpo_core.attempts import least_attempts, total_attempts
from mpo_core.cache import settle_libraries
from mpo_core.config import Config, settings
from mpo_core.errors import (
    OF_THE_WORLD,
    EnvironmentLost,
    InputError,
    ModelUnavailable,
    remedy,
)
from mpo_core.overrides import quoted
from mpo_core.paths import homes_filled_in
from mpo_core.types import Split

if TYPE_CHECKING:
    from jobs.run import Run

app = typer.Typer(
    help="Meta Plan Optimization: train a planner whose plans make LLM agents succeed more often.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
    epilog="Start with `mpo doctor`, then `mpo run demo`. Every command has --help with examples.",
)
RoundOption = Annotated[int, typer.Option("--round", min=1, help="Round of a run of several.")]
console = Console()
LEFT_OUT_SHOWN = 10
INTERRUPTED = 130
GOES_ON = "what was done is kept, the same command goes on from there"

ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help=f"A preset ({', '.join(preset_names())}), a .yaml file, or a run's folder.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, as dotted.key=value."),
]


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
    begin_with: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Here: begin with a copy of this run's folder, and redo only what the settings "
            "change.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be done, stop.")
    ] = False,
) -> None:
    """Run the whole loop; the same command continues an interrupted run."""
    from jobs.pipeline import run_pipeline
    from jobs.same_run import begin_with_copy, check_run_folder

    if begin_with is not None:
        if on != "local":
            raise InputError("--from: only with --on local; copy the folder where the run is")
        check_run_folder(begin_with)
    if address is not None and on != "ray":
        raise InputError("--address: only with --on ray")
    if on == "ray":
        raise typer.Exit(_run_on_ray(config, overrides or [], address, dry_run))
    if on == "k8s":
        raise typer.Exit(_run_on_k8s(config, overrides or [], dry_run))
    opened = _run(config, overrides)
    if dry_run:
        _print_work(opened)
        return
    if begin_with is not None:
        begin_with_copy(begin_with, opened.dir)
    with opened:
        summary = run_pipeline(opened)
    _print_report(opened.dir / "report", summary)


@app.command(
    epilog="Examples:\n\n`mpo collect demo` (plans by rules, without a model)\n\n"
    "`mpo collect demo seeds.teacher=gpt models.gpt='{endpoint: https://HOST/v1, name: MODEL}' "
    "seeds.price_per_million_prompt_tokens=2.5 seeds.price_per_million_completion_tokens=10`"
)
def collect(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Play the experts' episodes of the training tasks and make the seed plans of them."""
    from jobs.collect import collect_seeds
    from jobs.tasks import collect_tasks

    with _run(config, overrides) as opened:
        collect_tasks(opened)
        seeds = collect_seeds(opened)
    path = opened.dir / "plans" / "seeds-train.jsonl"
    console.print(f"{len(seeds.plans)} plans in {path}", soft_wrap=True)
    console.print(f"{len(seeds.faults)} tasks without a plan")
    for reason, count in seeds.reasons.items():
        console.print(f"  {count}: {reason}", soft_wrap=True)
    if opened.config.seeds.teacher is not None:
        cost = "" if seeds.cost is None else f", cost {seeds.cost:.4f}"
        console.print(
            f"{seeds.prompt_tokens} prompt and {seeds.completion_tokens} completion tokens{cost}"
        )


@app.command(epilog="Example: `mpo plans demo`")
def plans(
    config: ConfigArgument, overrides: Overrides = None, round_number: RoundOption = 1
) -> None:
    """Sample the training tasks' plans from the planner that a round starts from."""
    from jobs.plans import collect_plans
    from jobs.run import Round
    from jobs.tasks import collect_tasks

    with _run(config, overrides) as opened:
        collect_tasks(opened)
        start = Round.of(opened.config, round_number).start
        sampled = collect_plans(opened, start, "train")
    path = opened.dir / "plans" / f"{start}-train.jsonl"
    console.print(f"{len(sampled)} plans in {path}", soft_wrap=True)


@app.command(epilog="Example: `mpo rollout demo name=mine scoring.repetitions=8`")
def rollout(
    config: ConfigArgument, overrides: Overrides = None, round_number: RoundOption = 1
) -> None:
    """Score the sampled plans by Monte Carlo rollouts of the agent."""
    from jobs.rollout import collect_scores, scores_path
    from jobs.run import Round

    with _run(config, overrides) as opened:
        start = Round.of(opened.config, round_number).start
        scores = collect_scores(opened, start, round_number)
        path = scores_path(opened, round_number)
    played = sum(score.n for score in scores)
    console.print(f"{len(scores)} plans scored by {played} episodes in {path}", soft_wrap=True)


@app.command(
    epilog="Examples:\n\n`mpo pairs runs/mine`\n\n"
    "`mpo pairs demo name=mine pairs.rule=significant pairs.level=0.1`"
)
def pairs(
    config: ConfigArgument, overrides: Overrides = None, round_number: RoundOption = 1
) -> None:
    """Make preference pairs of the scored plans."""
    from jobs.pairs import collect_pairs, pairs_path, yields
    from jobs.run import Round

    with _run(config, overrides) as opened:
        start = Round.of(opened.config, round_number).start
        found = collect_pairs(opened, start, round_number)
        table = Table("rule", "pairs", "tasks", title="what each rule gives")
        for rule, amounts in yields(opened, round_number).items():
            table.add_row(rule, str(amounts["pairs"]), str(amounts["tasks"]))
        path = pairs_path(opened, round_number)
    console.print(table)
    console.print(f"{len(found)} pairs in {path}", soft_wrap=True)


@app.command(
    epilog="Examples:\n\n`mpo train dpo demo training.learning_rate=1e-5`\n\n"
    "`mpo train dpo --pairs sciworld_metaplan_preference_pairs.json` (pairs of one's own or of the "
    "paper's data, with the demo's model and settings)\n\n"
    "`mpo train sft scienceworld-llama3.1-8b --rows sciworld_metaplan_sft.json`\n\n"
    "`mpo train pg my.yaml` (on all scored plans)\n\n"
    "`mpo train shuffled my.yaml scoring.shuffle=[0,1,2] evaluation.arms=[sft,mpo,shuffled]`"
)
def train(
    method: Annotated[
        Literal["sft", "rft", "dpo", "pg", "shuffled", "agent"],
        typer.Argument(
            help="The planner on seed plans (`sft`), on its best scored plans (`rft`), on "
            "preferences (`dpo`), on all scored plans by policy gradient (`pg`), or the controls "
            "of `scoring.shuffle` (`shuffled`); or the agent on experts' episodes (`agent`)."
        ),
    ],
    config: ConfigArgument = "demo",
    overrides: Overrides = None,
    round_number: RoundOption = 1,
    *,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="dpo: a file of pairs, as this suite, the paper, TRL, ShareGPT or Alpaca write "
            "them (JSON, JSON lines or Parquet)."
        ),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            help="sft: a file of prompts and answers, likewise; pg: with an `advantage` each."
        ),
    ] = None,
) -> None:
    """Train the planner or the agent on what the stages before have left, or on a file."""
    from jobs.train import train_method

    given = {"dpo": pairs, "sft": rows, "pg": rows}.get(method)
    for option, path in (("--pairs", pairs), ("--rows", rows)):
        if path is not None and path is not given:
            raise InputError(f"{option}: not what {method} is trained on")
    if "=" in config:
        config, overrides = "demo", [config, *(overrides or [])]
    if given is not None:
        # A run of its own, beside those of the config.
        overrides = [f"name={quoted(run_name(given))}", *(overrides or [])]
    with _run(config, overrides) as opened:
        trained = train_method(opened, method, round_number, given)
    for summary, folder in trained:
        console.print(
            f"{summary['steps']} steps, loss {summary['loss_first']:.3f} to "
            f"{summary['loss_last']:.3f}, weights in {folder}",
            soft_wrap=True,
        )
        for warning in summary["warnings"]:
            console.print(f"[yellow]{warning}[/]", soft_wrap=True)


@app.command(
    epilog="Examples:\n\n`mpo evaluate demo evaluation.arms='[none,base,expert]'`\n\n"
    "`mpo evaluate demo --plans sciworld_metaplan_test.jsonl` (plans of one's own or of the "
    "paper's data, against no plan)"
)
def evaluate(
    config: ConfigArgument,
    overrides: Overrides = None,
    plans: Annotated[
        list[Path] | None,
        typer.Option(help="File of plans to evaluate (JSON lines: id, task, workflow)."),
    ] = None,
) -> None:
    """Play the held-out tasks with each arm's plans and write the report."""
    from jobs.evaluate import evaluate as evaluate_stage
    from jobs.tasks import collect_tasks

    if plans:
        files = quoted({"file": [str(path) for path in plans]})
        given = [f"evaluation.plan_files={files}", "evaluation.arms=[none, file]"]
        overrides = [*given, *(overrides or [])]
    with _run(config, overrides) as opened:
        collect_tasks(opened)
        summary = evaluate_stage(opened)
    _print_report(opened.dir / "report", summary)


@app.command(
    epilog="Examples:\n\n`mpo sweep demo --over seed=0,1 --over training.beta=0.05,0.1 --on slurm`"
    "\n\n`mpo sweep demo --over seed=0,1,2 --status`\n\n"
    "`mpo sweep demo --from runs/demo --over training.beta=0.05,0.1` (with its plans and scores)"
    "\n\nThe same command again goes on with what is not done; `mpo report runs/demo-seed*` then "
    "puts seeds into one table."
)
def sweep(
    config: ConfigArgument,
    overrides: Overrides = None,
    *,
    over: Annotated[
        list[str], typer.Option(metavar="KEY=V,V,...", help="A setting and its values; repeatable.")
    ],
    on: Annotated[
        Literal["slurm", "local", "debug"],
        typer.Option(help="Where the jobs run: Slurm, this machine, or this terminal."),
    ] = "local",
    parallel: Annotated[
        int | None,
        typer.Option(min=1, help="Jobs at a time; 1 on this machine, on Slurm as many as it lets."),
    ] = None,
    begin_with: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Begin each point with a copy of this run's folder, and redo only what its "
            "settings change.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say where each point stands.")] = False,
    point: Annotated[
        int | None,
        typer.Option(min=0, help="Print this point's settings, for a job array of your own."),
    ] = None,
) -> None:
    """Run a config at every point of a grid, through submitit, under one run in MLflow."""
    from jobs.sweep import Sweep

    opened = Sweep(config, overrides or [], over, on, begin_with)
    if point is not None:
        if point >= len(opened.points):
            raise InputError(f"--point {point}: there are {len(opened.points)}, from 0")
        print(f"name={opened.points[point].name}", *opened.points[point].overrides, sep="\n")
        return
    if dry_run or status:
        states = opened.states()
    else:
        states = opened.run(parallel or (256 if on == "slurm" else 1))
    table = Table("point", "settings", "state", title=str(opened.dir))
    for entry in opened.points:
        table.add_row(entry.name, " ".join(entry.overrides), states[entry.name])
    console.print(table)
    if dry_run:
        console.print(opened.plan(states), soft_wrap=True)
    if "failed" in states.values() and not dry_run:
        failed = [name for name, state in states.items() if state == "failed"]
        _fail(f"{', '.join(failed)}: not done; logs in {opened.dir / 'jobs'}; {GOES_ON}", 1)


@app.command(
    epilog="Examples:\n\n`mpo report runs/mine`\n\n"
    "`mpo report runs/mine-1 runs/mine-2 runs/mine-3 --out runs/mine-all` (three seeds of a config)"
)
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIR...", help="Folders of finished runs.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; a single run's own by default.")
    ] = None,
) -> None:
    """Write a run's report anew, or one report of several seeds of the same config."""
    from mpo_core.report.merge import report_runs

    _print_report(*report_runs(runs, out))


@app.command(
    epilog="Examples:\n\n`mpo export planner demo --out my-planner` (a Hugging Face folder)\n\n"
    "`mpo export planner demo --version sft --out my-planner --push ORG/NAME`\n\n"
    "`mpo export data demo --out data` (in the formats of the paper's data)\n\n"
    "`mpo export data demo --reference-names --out exported`, then `cp -r exported/. MPO/` (over "
    "a checkout of the paper's repository, whose scripts read such as "
    "`data/sciworld/metaplan/metaplan_test_mpo.jsonl` and "
    "`samples/sciworld_metaplan_train_sampled.jsonl`)"
)
def export(
    what: Annotated[
        Literal["planner", "data"],
        typer.Argument(help="The trained planner, or the run's plans and pairs."),
    ],
    config: ConfigArgument,
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option(help="The folder to write; new or empty.")],
    version: Annotated[
        Literal["sft", "rft", "pg", "mpo"], typer.Option(help="planner: after which training.")
    ] = "mpo",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="planner: the LoRA adapter, not merged.")
    ] = False,
    push: Annotated[
        str | None, typer.Option(help="planner: also upload to this hub repository, private.")
    ] = None,
    reference_names: Annotated[
        bool,
        typer.Option(
            "--reference-names", help="data: files named as the paper's scripts read them."
        ),
    ] = False,
) -> None:
    """Write a run's planner or data for others to use."""
    from jobs.export import export_data, export_planner
    from jobs.export import push as push_folder

    with _run(config, overrides) as opened:
        if what == "data":
            for path in export_data(opened, out, reference_names=reference_names):
                console.print(path, soft_wrap=True)
            return
        console.print(export_planner(opened, version, out, adapter=adapter), soft_wrap=True)
    if push:
        console.print(push_folder(out, push), soft_wrap=True)


@app.command(
    epilog="Example: `mpo serve demo cluster.http_port=8000`, then\n\n"
    '`curl localhost:8000/v1/chat/completions -H "Content-Type: application/json" '
    '-d \'{"model": "smollm2", "messages": [{"role": "user", "content": "Hello"}]}\'`'
)
def serve(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Serve the config's models on loopback until Ctrl-C."""
    from jobs.serve import serve_until_interrupted

    with _run(config, overrides) as opened:
        serve_until_interrupted(opened, lambda line: console.print(line, soft_wrap=True))


@app.command(
    epilog="Examples:\n\n`mpo tasks scienceworld`\n\n`mpo tasks scienceworld --split unseen --list`"
    "\n\n`mpo tasks alfworld --data /data/alfworld` (also says what is wrong with the folder)\n\n"
    "`mpo tasks alfworld generate --seed 1 --train 600 --seen 60 --unseen 60 --out games`"
)
def tasks(
    env: Annotated[str, typer.Argument(help="Environment: scienceworld, alfworld, or your own.")],
    action: Annotated[
        Literal["show", "generate"],
        typer.Argument(help="`show` counts or lists tasks; `generate` writes new ones."),
    ] = "show",
    *,
    split: Annotated[Split | None, typer.Option(help="Only this split.")] = None,
    types: Annotated[list[str] | None, typer.Option("--type", help="Only this task type.")] = None,
    list_ids: Annotated[bool, typer.Option("--list", help="Print the task ids.")] = False,
    data: Annotated[Path | None, typer.Option(help="Data folder to look at.")] = None,
    split_file: Annotated[
        Path | None, typer.Option(help="A published index file to read the split from.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="generate: the folder to write.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="generate: same seed, same tasks.")] = 0,
    train: Annotated[int, typer.Option(min=0, help="generate: training tasks.")] = 24,
    seen: Annotated[int, typer.Option(min=0, help="generate: tasks in rooms of training.")] = 12,
    unseen: Annotated[int, typer.Option(min=0, help="generate: tasks in other rooms.")] = 12,
    prior_power: Annotated[
        float | None,
        typer.Option(
            min=0, help="generate, alfworld: 0 puts things anywhere, above 1 where they belong."
        ),
    ] = None,
) -> None:
    """Count, list or generate an environment's tasks."""
    from jobs.tasks import count_tasks, environment, generate_tasks, list_tasks

    if action == "generate":
        if out is None:
            raise InputError("--out: say which folder to write the tasks into")
        counts: dict[Split, int] = {"train": train, "seen": seen, "unseen": unseen}
        options = {} if prior_power is None else {"prior_power": prior_power}
        console.print(f"{generate_tasks(env, out, counts, seed, options)}", soft_wrap=True)
        return
    suite = environment(env, data, split, split_file)
    found = list_tasks(suite, split, types)
    if list_ids:
        for task in found:
            print(task.id)
    else:
        header, rows = count_tasks(found, split)
        table = Table(*header)
        for row in rows:
            table.add_row(*map(str, row))
        console.print(table)
    for fault in suite.faults():
        print(f"unusable: {fault}", file=sys.stderr)
    left_out = suite.left_out()
    for name in left_out if list_ids else left_out[:LEFT_OUT_SHOWN]:
        print(f"left out: {name}", file=sys.stderr)
    if not list_ids and len(left_out) > LEFT_OUT_SHOWN:
        print(f"left out: {len(left_out)} in all; --list names them", file=sys.stderr)


@app.command(
    epilog="Examples:\n\n`mpo sandbox build --out sandbox`\n\n"
    "`mpo tasks alfworld generate --train 0 --seen 0 --unseen 200 --prior-power 2 --out games`, "
    "then `mpo sandbox check --out sandbox --games games` (in the real engine)"
)
def sandbox(
    action: Annotated[
        Literal["build", "check"],
        typer.Argument(
            help="`build` trains agent and planner and checks the agent; `check` only checks it."
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The models' folder; for `build` new or empty. `check` takes the shipped models "
            "without it."
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="build: how long to train the agent, on two quiet cores.")
    ] = 14,
    planner_minutes: Annotated[
        float, typer.Option(min=0.05, help="build: how long to train the planner.")
    ] = 3,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="build: of weights and games.")
    ] = 0,
    games: Annotated[
        Path | None,
        typer.Option(
            help="Generated games, whose unseen ones the real engine plays; without it the "
            "simulator plays 200."
        ),
    ] = None,
) -> None:
    """Make the sandbox's models from nothing (a tiny agent that follows plans, and its planner), or
    check an agent: games won under good plans, poor ones and none."""
    from jobs.sandbox import build, check
    from mpo_core.builtin_models import resolve_source

    def say(line: str) -> None:
        console.print(escape(line), soft_wrap=True, highlight=False)

    if action == "build":
        if out is None:
            raise InputError("sandbox build: --out is missing; name a new or empty folder")
        passed = build(
            out,
            minutes=minutes,
            planner_minutes=planner_minutes,
            seed=seed,
            held_out=games or 200,
            say=say,
        )
    else:
        passed = check(out or Path(resolve_source("builtin:sandbox-agent")), games or 200, say)
    if not passed:
        raise typer.Exit(1)


@app.command(epilog="Examples:\n\n`mpo config demo`\n\n`mpo config demo | grep training`")
def config(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Print every setting of a config, its value, what it means and what it bears on: whether it
    decides results, adds to them, selects among them, or is operational."""
    for one in settings(named_config(config, overrides or [])):
        meaning = f"{one.meaning} " if one.meaning else ""
        print(f"{one.key} = {one.value}  # {meaning}({one.bearing})")


@app.command(epilog="Example: `mpo doctor demo`")
def doctor(
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="Also check what this config needs.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Check this machine, from environments to models; each fault comes with its remedy."""
    from jobs.doctor import examine

    checks = examine(named_config(config, overrides or []) if config else None)
    for check in checks:
        mark = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fault": "[red]no  [/]"}
        line = f"{mark[check.status]} {check.name}: {escape(check.found)}"
        remedy = f"\n     [bold]{escape(check.remedy)}[/]" if check.remedy else ""
        console.print(line + remedy, soft_wrap=True, highlight=False)
    if any(check.status == "fault" for check in checks):
        raise typer.Exit(2)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input ends in one line and exit code 2.

    SIGUSR1, a scheduler's warning, interrupts as Ctrl-C does, a training after a last checkpoint.
    """
    _in_utf8()
    signal.signal(signal.SIGUSR1, _interrupt_once)
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    for stream in (sys.stdout, sys.stderr):
        # What cannot be shown, such as half a character, is shown as a code and stops nothing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settle_libraries()
        given = sys.argv[1:] if arguments is None else arguments
        app([_at_home(argument) for argument in given], standalone_mode=True)
    except InputError as error:
        _fail(str(error), 2)
    except (ModelUnavailable, EnvironmentLost) as error:
        _fail(f"{error}; {GOES_ON}", 1)
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        _fail(f"interrupted; {GOES_ON}", INTERRUPTED)
    except OSError as error:
        # A full disk, or a folder that is not one's own, shows wherever something is written.
        if error.errno not in OF_THE_WORLD:
            raise
        _fail(f"{error.filename or 'disk'}: {error.strerror}; {remedy(error)}", 2)


def _in_utf8() -> None:
    """Start this process again in Python's UTF-8 mode where the locale has another encoding.

    Names of files would be one thing to Python and another to libraries that take all for UTF-8.
    The processes that this one starts inherit it.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _interrupt_once(number: int, _: object) -> None:
    # A scheduler may repeat its warning, and tidying up must not be interrupted.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _at_home(argument: str) -> str:
    """An argument with `~` filled in where the shell leaves it: quoted, and in `--option=~/x`."""
    option, equals, value = argument.partition("=")
    if equals and option.startswith("--"):
        return f"{option}={homes_filled_in(value)}"
    return homes_filled_in(argument)


def _fail(message: str, code: int) -> None:
    print(f"mpo: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _run(config: str, overrides: list[str] | None) -> "Run":
    from jobs.run import Run

    return Run(named_config(config, overrides or []))


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


def _print_work(opened: "Run") -> None:
    from jobs.arms import plans_a_task

    config: Config = opened.config
    tasks = {split: len(opened.tasks(split)) for split in opened.splits}
    plans = tasks["train"] * config.planner.per_task
    trainings = list(config.trainings)
    if "rft" in config.evaluation.arms and not config.planner.rft.training:
        trainings.append("RFT")
    trainings += list(opened.controls)
    held_out = sum(tasks[split] for split in config.evaluation.splits)
    played = sum(plans_a_task(opened, arm) for arm in config.evaluation.arms)
    evaluation = held_out * played * config.evaluation.repetitions
    console.print(f"run        {opened.dir}")
    console.print(f"tasks      {', '.join(f'{n} {split}' for split, n in tasks.items())}")
    console.print(f"rounds     {config.rounds}, each of")
    console.print(f"plans      {plans} to score")
    console.print(f"episodes   {_scoring_work(config, plans)}", soft_wrap=True)
    console.print(f"evaluation {evaluation} episodes: {', '.join(config.evaluation.arms)}")
    console.print(f"trainings  {', '.join(trainings) or 'none'}")
    if config.cluster.enabled:
        from cluster.address import cluster_address
        from cluster.resources import resource_plan

        plan, address = resource_plan(config), cluster_address(config.cluster.address)
        console.print(f"cluster    {address or 'a private one on this machine'}", soft_wrap=True)
        console.print(f"serving    {plan.serving}")
        console.print(f"rollouts   {plan.rollout}")
        console.print(f"training   {plan.training}")


def _scoring_work(config: Config, plans: int) -> str:
    """How many episodes a round's scoring is."""
    scoring = config.scoring
    if scoring.repetitions != "auto":
        return f"{plans * scoring.repetitions} scoring"
    least, most = (of(plans, scoring.mean_repetitions) for of in (least_attempts, total_attempts))
    uniform = plans * scoring.max_repetitions
    return f"{least} to {most} scoring (auto; {scoring.max_repetitions} a plan would be {uniform})"


def _print_results(heading: str, found: dict) -> None:
    """A table a place of the means and differences that `found` holds."""
    from mpo_core.report.page import headline, table_rows

    header, *rows = table_rows(headline(found), found["paired"])
    tasks = header.index("tasks")
    # What is the same for all arms stands in the title, so that the rest fits a terminal.
    shown = [k for k, name in enumerate(header) if name not in ("environment", "tasks", "episodes")]
    for place, of_place in groupby(rows, key=lambda row: f"{row[0]}, {row[tasks]} tasks"):
        table = Table(
            title=f"{heading}: {place}",
            title_justify="left",
            box=box.SIMPLE,
            pad_edge=False,
        )
        for k in shown:
            table.add_column(header[k].removesuffix(" [95% CI]"), overflow="fold")
        for row in of_place:
            table.add_row(*(row[k] for k in shown))
        console.print(table)


def _print_report(folder: Path, summary: dict) -> None:
    from mpo_core.report.conduct import conduct_warnings
    from mpo_core.report.gain import gains, imitation
    from mpo_core.report.page import title

    for sentence in [*gains(summary), *imitation(summary)]:
        console.print(sentence, markup=False, soft_wrap=True)
    _print_results(title(summary), summary)
    if "sampled" in summary:
        _print_results(f"{title(summary)}, sampled plans", summary["sampled"])
    speed = (
        f"; {summary['tokens_per_s']} tokens/s, {summary['env_steps_per_s']} environment steps/s"
        if "tokens_per_s" in summary
        else ""
    )
    console.print(
        f"{summary['plans']} plans, {summary['episodes']} episodes, {summary['pairs']} pairs{speed}"
    )
    if summary["pair_rules"] and not summary["pairs"]:
        console.print(
            "[yellow]no pairs: the plans of every task earned the same; more plans a task, a "
            "higher planner.temperature, more attempts or more tasks may tell them apart[/]",
            soft_wrap=True,
        )
    for warning in conduct_warnings(summary.get("conduct", [])):
        console.print(f"[yellow]{warning}[/]", soft_wrap=True)
    console.print(f"report: {folder}", soft_wrap=True)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
