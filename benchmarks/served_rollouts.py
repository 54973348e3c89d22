"""Rollouts through Ray Serve and the rollout pool against vLLM's offline engine.

    python benchmarks/served_rollouts.py [--agent FOLDER] [--games FOLDER] [--out FILE]

The sandbox's agent plays generated ALFWorld games, many at a time, as a run plays them: episodes in
a rollout actor, the games in a host's process, the model in a Serve replica. Then vLLM's offline
engine, on one thread in a process of its own and under the same settings, is asked the very prompts
that these episodes asked, with as many dialogues at a time, each turn after the one before it: what
the model alone costs, with no game, no episode and no message between processes.

A decision is one answer of the agent. Both sides are measured in their steady state: from when as
many dialogues have ended as are open at a time, until so few are left that not all places are
taken. Cores in use are the processor seconds of all processes by the clock; `cores_of_others`, what
the machine did besides, should be near zero for the figures to mean something.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from measure import write_report

if TYPE_CHECKING:
    from mpo_core.config import Config
    from mpo_core.types import Episode, Message

GOAL = {"decisions_per_s": 0.5}
ROWS = (
    ("decisions/s", "decisions_per_s", "decisions_per_s"),
    ("processor ms a decision", "cpu_ms", None),
    ("cores in use", "cores", None),
)
KINDS = {
    "ray::ServeReplica:mpo:AdapterServer": "replica",
    "VLLM": "engine",
    "ray::RayWorker": "engine's worker",
    "ray::RolloutActor": "rollout actor",
    "ray::": "Serve's and Ray's other workers",
    "raylet": "Ray",
    "gcs_server": "Ray",
}
"""How the name of a process begins -> what it is."""
MAX_TOKENS, MAX_STEPS = 16, 14


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", default="builtin:sandbox-agent", help="model to play with")
    parser.add_argument("--games", type=Path, help="generated games; by default 100 new ones")
    parser.add_argument("--concurrency", type=int, default=128, help="episodes at a time")
    parser.add_argument("--episodes", type=int, default=900)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/served_rollouts.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        games = options.games or generated(Path(folder) / "games")
        config = bench_config(options.agent, games, Path(folder), options.concurrency)
        ours, dialogues = measure_served(config, options.episodes)
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            baseline = alone.submit(measure_offline, config, dialogues).result()
    rates = [side["decisions_per_s"] for side in (ours, baseline)]
    report = {
        "ratios": {"decisions_per_s": round(rates[0] / rates[1], 2)},
        "goals": GOAL,
        "ours": ours,
        "baseline": baseline,
        "concurrency": options.concurrency,
    }
    write_report(options.out, report, ROWS, ("offline", "served"))


def generated(root: Path) -> Path:
    from mpo_core.envs.alfworld.generation import generate

    generate(root, {"unseen": 100}, seed=7, prior_power=2.0)
    return root


def bench_config(agent: str, games: Path, folder: Path, concurrency: int) -> Config:
    from mpo_core.config import parse_config

    return parse_config(
        {
            "name": "bench",
            "runs_dir": folder / "runs",
            "envs": {"alfworld": {"data": games, "sessions_per_worker": concurrency}},
            "models": {
                "agent": {
                    "source": agent,
                    "max_model_len": 1024,
                    "concurrency": concurrency,
                    "engine_kwargs": {"max_num_seqs": concurrency},
                }
            },
            # The agent is served as it is: its engine needs no room for adapters.
            "planner": {"model": "agent", "serve": "engine"},
            "agent": {"model": "agent"},
            "evaluation": {"arms": ["none", "base"]},
            "cluster": {"episodes_in_flight": concurrency, "logical_cpus": 6},
        }
    )


@dataclass(frozen=True)
class Mark:
    """What had been done at a moment."""

    decisions: int
    time: float
    cpu: Counter[str]
    """Processor seconds by kind of process."""
    machine: float
    """Processor seconds of the whole machine."""

    @classmethod
    def now(cls, decisions: int) -> Mark:
        busy = psutil.cpu_times()
        machine = busy.user + busy.nice + busy.system
        return cls(decisions, time.perf_counter(), spent(), machine)

    def figures(self, before: Mark) -> dict[str, Any]:
        wall, decisions = self.time - before.time, self.decisions - before.decisions
        cpu = {kind: seconds - before.cpu[kind] for kind, seconds in self.cpu.items()}
        return {
            "decisions_per_s": round(decisions / wall, 1),
            "cpu_ms": round(1000 * sum(cpu.values()) / decisions, 2),
            "cores": round(sum(cpu.values()) / wall, 2),
            "cores_by_process": {
                kind: round(seconds / wall, 3)
                for kind, seconds in sorted(cpu.items(), key=lambda item: -item[1])
            },
            "cores_of_others": round((self.machine - before.machine - sum(cpu.values())) / wall, 2),
            "decisions": decisions,
            "wall_s": round(wall, 2),
        }


def spent() -> Counter[str]:
    """Processor seconds of this process and of all that it started, by kind."""
    seconds: Counter[str] = Counter()
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            times, name = process.cpu_times(), " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        kind = next((kind for begin, kind in KINDS.items() if begin in name[:200]), "games")
        seconds["driver" if process == me else kind] += times.user + times.system
    return seconds


def measure_served(config: Config, episodes: int) -> tuple[dict[str, Any], list[list[Message]]]:
    """Figures of rollouts through the cluster, and the dialogues of their episodes."""
    from cluster.backend import ClusterBackend
    from mpo_core.envs.base import suite_class
    from mpo_core.ledger import Ledger
    from mpo_core.prompts import load_prompts
    from mpo_core.rollout import play_owed
    from mpo_core.types import Episode as Played

    backend = ClusterBackend(config)
    suite = suite_class("alfworld")(config.envs["alfworld"])
    prompts = load_prompts("alfworld")
    asked = requests(suite, prompts, backend.fingerprint("agent"), episodes)
    places = config.cluster.episodes_in_flight
    marks: list[Mark] = []
    ended: list[Episode] = []
    decisions = 0

    def on_episode(episode: Episode) -> None:
        nonlocal decisions
        ended.append(episode)
        decisions += episode.steps
        if len(ended) in (places, episodes - places):
            marks.append(Mark.now(decisions))

    async def play() -> None:
        model = backend.model("agent")
        with Ledger(config.run_dir / "episodes.jsonl", Played, key=lambda e: e.key) as ledger:
            async with backend.players({"alfworld": suite}, {"alfworld": prompts}, model) as pool:
                await play_owed(
                    asked, pool[0], ledger, concurrency=pool[1], attempts=5, on_episode=on_episode
                )

    try:
        backend.model("agent")  # Starts the engine.
        asyncio.run(play())
    finally:
        backend.close()
    before, after = marks
    figures = after.figures(before)
    figures["success"] = round(sum(episode.success for episode in ended) / len(ended), 3)
    return figures, [episode.messages for episode in ended]


def requests(suite, prompts, model: str, episodes: int) -> list:
    from mpo_core.envs.alfworld.games import game_file
    from mpo_core.episode import EpisodeProtocol, EpisodeRequest
    from mpo_core.sandbox.games import Game
    from mpo_core.sandbox.measure import PLANNERS
    from mpo_core.sandbox.wording import write
    from mpo_core.types import Plan

    protocol = EpisodeProtocol(
        plan_mode="query",
        temperature=0.7,
        max_tokens=MAX_TOKENS,
        invalid_limit=MAX_STEPS,
        max_steps=MAX_STEPS,
        example=False,
        thoughts=False,
        list_actions=0,
        seed=1,
        prompts=prompts.fingerprint,
        env=suite.protocol(),
    )
    asked, tasks = [], suite.tasks("unseen")
    planned = []
    for number, task in enumerate(tasks):
        game = Game.load(game_file(suite.root(), task).parent)
        text = write(PLANNERS["best general"](game, number), None)
        planned.append((task, Plan.of(task.id, text, "bench")))
    for number in range(episodes):
        task, plan = planned[number % len(planned)]
        asked.append(EpisodeRequest.of(task, plan, model, protocol, number // len(planned)))
    return asked


def measure_offline(config: Config, dialogues: list[list[Message]]) -> dict[str, Any]:
    """Figures of vLLM's own engine, asked what the dialogues' agent was asked."""
    os.environ["OMP_NUM_THREADS"] = "1"
    # The engine in this process: no other takes a part of its work.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import RequestOutputKind

    from mpo_core.builtin_models import resolve_source
    from mpo_core.hardware import multiplies_bf16

    model = config.models_with_source["agent"]
    llm = LLM(
        str(resolve_source(model.source)),
        max_model_len=model.max_model_len,
        max_num_seqs=model.engine_kwargs["max_num_seqs"],
        max_num_batched_tokens=2048,
        enable_chunked_prefill=False,
        enable_prefix_caching=True,
        block_size=32,
        enforce_eager=True,
        dtype="bfloat16" if multiplies_bf16() else "float32",
    )
    engine, tokenizer = llm.llm_engine, llm.get_tokenizer()
    concurrency = config.cluster.episodes_in_flight
    waiting = iter(enumerate(dialogues))
    open_: dict[str, Iterator[list[Message]]] = {}
    decisions = ended = 0
    marks: list[Mark] = []

    def ask_next(number: int) -> bool:
        """Ask a dialogue's next turn, if it has one."""
        asked = next(open_[number], None)
        if asked is None:
            del open_[number]
            return False
        prompt = tokenizer.apply_chat_template(
            asked, tokenize=False, continue_final_message=True, add_generation_prompt=False
        )
        params = SamplingParams(
            temperature=0.7,
            max_tokens=MAX_TOKENS,
            seed=decisions + 1,
            stop=["\n"],
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        engine.add_request(f"{number}-{decisions}-{len(asked)}", {"prompt": prompt}, params)
        return True

    def open_next() -> None:
        for number, dialogue in waiting:
            open_[str(number)] = turns(dialogue)
            if ask_next(str(number)):
                return

    for _ in range(concurrency):
        open_next()
    while open_:
        for output in engine.step():
            if not output.finished:
                continue
            decisions += 1
            number = output.request_id.partition("-")[0]
            if not ask_next(number):
                ended += 1
                if ended in (concurrency, len(dialogues) - concurrency):
                    marks.append(Mark.now(decisions))
                open_next()
    before, after = marks
    return after.figures(before)


def turns(dialogue: list[Message]) -> Iterator[list[Message]]:
    """What the agent was asked at each turn: all before its answer, and how that begins."""
    for index, message in enumerate(dialogue):
        if message["role"] == "assistant":
            yield [*dialogue[:index], {"role": "assistant", "content": "Action:"}]


if __name__ == "__main__":
    main()
