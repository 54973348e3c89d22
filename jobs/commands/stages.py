"""The stages alone: `mpo collect`, `plans`, `rollout`, `pairs`, `train` and `evaluate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from jobs.commands.options import ConfigArgument, Overrides, RoundOption, opened_run
from jobs.configs import named_config, run_name
from jobs.rendering import console, print_report
from mpo_core.errors import InputError
from mpo_core.overrides import quoted

if TYPE_CHECKING:
    from mpo_core.types import PlanScore

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n`mpo collect demo` (plans by rules, without a model)\n\n"
    "`mpo collect demo seeds.teacher=gpt models.gpt='{endpoint: https://HOST/v1, name: MODEL}' "
    "seeds.price_per_million_prompt_tokens=2.5 seeds.price_per_million_completion_tokens=10`"
)
def collect(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Play the experts' episodes of the training tasks and make the seed plans of them."""
    from jobs.collect import collect_seeds
    from jobs.tasks import collect_tasks

    with opened_run(config, overrides) as opened:
        seeds = collect_seeds(opened, collect_tasks(opened)["train"])
    path = opened.files.seeds("train")
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

    with opened_run(config, overrides) as opened:
        tasks = collect_tasks(opened)["train"]
        start = Round.of(opened.config, round_number).start
        sampled = collect_plans(opened, start, "train", tasks)
    path = opened.files.plans(start, "train")
    console.print(f"{len(sampled)} plans in {path}", soft_wrap=True)


@app.command(epilog="Example: `mpo rollout demo name=mine scoring.repetitions=8`")
def rollout(
    config: ConfigArgument, overrides: Overrides = None, round_number: RoundOption = 1
) -> None:
    """Score the sampled plans by Monte Carlo rollouts of the agent, or the plans of callers by
    their feedback."""
    from jobs.feedback.stages import stage_of
    from jobs.plans import load_plans
    from jobs.rollout import collect_scores
    from jobs.run import Round
    from jobs.tasks import load_tasks

    with opened_run(config, overrides) as opened:
        if opened.config.source == "feedback":
            stage = stage_of(opened, round_number)
            _print_scores(stage.found.scores, opened.files.scores(stage.this.number))
            return
        tasks, start = load_tasks(opened, "train"), Round.of(opened.config, round_number).start
        plans = load_plans(opened, start, "train", tasks)
        scores = collect_scores(opened, tasks, plans, round_number)
    _print_scores(scores, opened.files.scores(round_number))


def _print_scores(scores: Sequence["PlanScore"], path: Path) -> None:
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
    from jobs.feedback.stages import stage_of
    from jobs.pairs import collect_pairs, yields
    from jobs.plans import load_plans
    from jobs.rollout import load_plan_scores
    from jobs.run import Round
    from jobs.tasks import load_tasks

    with opened_run(config, overrides) as opened:
        if opened.config.source == "feedback":
            stage = stage_of(opened, round_number)
            tasks, scores, found = stage.pulled.tasks, stage.found.scores, stage.found.pairs
            round_number = stage.this.number
        else:
            scores, tasks = load_plan_scores(opened, round_number), load_tasks(opened, "train")
            start = Round.of(opened.config, round_number).start
            plans = load_plans(opened, start, "train", tasks)
            found = collect_pairs(opened, tasks, plans, scores, round_number)
        table = Table("rule", "pairs", "tasks", title="what each rule gives")
        for rule, amounts in yields(opened, tasks, scores).items():
            table.add_row(rule, str(amounts["pairs"]), str(amounts["tasks"]))
        path = opened.files.pairs(round_number)
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
    training: Annotated[
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
    from jobs.trainings import train_by_name

    given = {"dpo": pairs, "sft": rows, "pg": rows}.get(training)
    for option, path in (("--pairs", pairs), ("--rows", rows)):
        if path is not None and path is not given:
            raise InputError(f"{option}: not what {training} is trained on")
    if "=" in config:
        config, overrides = "demo", [config, *(overrides or [])]
    if given is not None:
        # A run of its own, beside those of the config.
        overrides = [f"name={quoted(run_name(given))}", *(overrides or [])]
    with opened_run(config, overrides) as opened:
        trained = train_by_name(opened, training, round_number, given)
    for summary, folder in trained:
        console.print(
            f"{summary['steps']} steps, loss {summary['loss_first']:.3f} to "
            f"{summary['loss_last']:.3f}, weights in {folder}",
            soft_wrap=True,
        )
        for warning in summary["warnings"]:
            console.print(warning, style="yellow", soft_wrap=True)


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
    """Play the held-out tasks with each arm's plans and write the report; with callers' feedback,
    compare the arms that their conversations were drawn into. With --plans, the report of a run
    which has arms of its own stays, and this one lies beside it."""
    from jobs.evaluate import evaluate as evaluate_stage
    from jobs.feedback.pipeline import evaluate as evaluate_feedback
    from jobs.same_run import has_other_arms
    from jobs.tasks import collect_tasks

    aside = False
    if plans:
        files = quoted({"file": [str(path) for path in plans]})
        given = [f"evaluation.plan_files={files}", "evaluation.arms=[none, file]"]
        overrides = [*given, *(overrides or [])]
        asked = named_config(config, overrides)
        if asked.source == "feedback":
            raise InputError(
                "--plans: not with source=feedback, which plays no plans; give callers their plans "
                "by `mpo proxy FILE`, or name a config with envs"
            )
        aside = has_other_arms(asked)
    with opened_run(config, overrides, aside=aside) as opened:
        if opened.config.source == "feedback":
            summary = evaluate_feedback(opened)
        else:
            summary = evaluate_stage(opened, collect_tasks(opened))
    print_report(opened.files.report, summary)
