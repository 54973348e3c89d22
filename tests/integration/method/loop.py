"""The whole method in one process: `python -m tests.integration.method.loop FOLDER SEED`.

Leaves each planner with its `training.json` in FOLDER, and `shares.json`: by planner, the share of
right plans among those it draws for the held-out tasks.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM, AutoTokenizer

from mpo_core.advantages import scored_answers
from mpo_core.config import DpoConfig, PgConfig, ScriptedModelConfig, SftConfig
from mpo_core.demonstrations import best_plans, of_plan
from mpo_core.episode import EpisodeRequest
from mpo_core.files import write_records, write_text
from mpo_core.ledger import Ledger
from mpo_core.models import connect
from mpo_core.pairs import half_turned, make_pairs
from mpo_core.plan_text import read_plan
from mpo_core.rollout import Player, play_owed
from mpo_core.scoring import score_plans
from mpo_core.training.engine import leave
from mpo_core.training.run import train
from mpo_core.training.settings import TrainingJob
from mpo_core.types import Episode, Plan, PlanScore, Record, Task
from tests.fakes import PROMPTS, protocol
from tests.integration.method.toy_world import Town, all_tasks, is_right, taught
from tests.tiny_chat import make_chat_model

PER_TASK = 5
REPETITIONS = 5
ENVS = {"toy": PROMPTS}
# So small a model then learns within a few dozen steps to name the thing that it is asked for.
MODEL = {
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
    "initializer_range": 0.1,
}
SHARED = {
    "method": "full",
    "batch_size": 20,
    "micro_batch_size": 20,
    "warmup_ratio": 0.1,
    "max_length": 128,
    "workers": 1,
    "precision": "fp32",
    "save_steps": 1000,
}
SFT = SftConfig(**SHARED, learning_rate=4e-3, epochs=14)
# Without `sft_weight` both sides of the pairs become unlikely here: plans no longer name the thing.
DPO = DpoConfig(**SHARED, learning_rate=2e-3, epochs=8, sft_weight=1.0)
PG = PgConfig(**SHARED, learning_rate=2e-3, epochs=2)


def sampled(planner: Path, tasks: Sequence[Task], seed: int, temperature: float) -> list[Plan]:
    """`PER_TASK` plans that a planner draws for each task, less the answers that hold none."""
    tokenizer = AutoTokenizer.from_pretrained(planner, padding_side="left")
    asked = tokenizer.apply_chat_template(
        [PROMPTS.planner_messages(task.description) for task in tasks],
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
    )
    torch.manual_seed(seed)
    tokens = AutoModelForCausalLM.from_pretrained(planner).generate(
        **asked,
        do_sample=True,
        temperature=temperature,
        top_k=0,
        max_new_tokens=32,
        num_return_sequences=PER_TASK,
    )
    answers = tokenizer.batch_decode(
        tokens[:, asked["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return [
        Plan.of(tasks[k // PER_TASK].id, text, planner.name, k % PER_TASK)
        for k, answer in enumerate(answers)
        if (text := read_plan(answer).text)
    ]


async def scored(tasks: Sequence[Task], plans: Sequence[Plan], ledger: Path) -> list[PlanScore]:
    """Monte Carlo scores of the plans, with the toy world's agent."""
    scripted = ScriptedModelConfig(scripted="tests.integration.method.toy_world:follower")
    agent = connect("agent", scripted)
    player = Player({"toy": Town()}, ENVS, agent)
    played = protocol(temperature=0.8, max_steps=3, example=False)
    by_id = {task.id: task for task in tasks}
    requests = [
        EpisodeRequest.of(by_id[plan.task_id], plan, agent.fingerprint, played, repetition)
        for plan in plans
        for repetition in range(REPETITIONS)
    ]
    with Ledger(ledger, Episode, key=lambda episode: episode.key) as episodes:
        await play_owed(requests, player.play, episodes, concurrency=8, attempts=1)
        return score_plans(requests, episodes)


def main(folder: Path, seed: int) -> None:
    tasks = all_tasks()
    learnt = [task for task in tasks if task.split == "train"]
    held_out = [task for task in tasks if task.split == "unseen"]
    by_id = {task.id: task for task in tasks}
    base, sft, validation = folder / "base", folder / "sft", folder / "validation.jsonl"

    def trained(name: str, records: Sequence[Record], **fields) -> None:
        rows, work = folder / f"{name}.jsonl", folder / f"{name}-work"
        write_records(rows, records)
        train(TrainingJob(rows, str(base), folder / name, work, seed=seed, **fields))
        AcceleratorState._reset_state()

    seeds = [of_plan(taught(task, seed), task, ENVS) for task in learnt]
    texts = [(shown.prompt[0]["content"], shown.completion[0]["content"]) for shown in seeds]
    make_chat_model(base, texts, seed=seed, **MODEL)
    trained("sft", seeds, config=SFT, objective="sft")

    plans = sampled(sft, tasks, seed, temperature=0.8)
    scores = asyncio.run(scored(tasks, plans, folder / "episodes.jsonl"))
    best = [of_plan(plan, task, ENVS) for task, plan in best_plans(learnt, plans, scores)]
    trained("rft", best, config=SFT, objective="sft", start=sft)

    write_records(validation, make_pairs("best_worst", held_out, plans, scores, ENVS))
    pairs = make_pairs("best_worst", learnt, plans, scores, ENVS)
    for name, given in (("dpo", pairs), ("control", half_turned(pairs, learnt, seed))):
        trained(name, given, config=DPO, start=sft, validation=validation)
    answers = [scored_answers(split, plans, scores, ENVS) for split in (learnt, held_out)]
    write_records(folder / "held-out.jsonl", answers[1])
    trained(
        "pg",
        answers[0],
        config=PG,
        objective="pg",
        start=sft,
        validation=folder / "held-out.jsonl",
    )

    shares = {}
    for name in ("base", "sft", "rft", "dpo", "control", "pg"):
        drawn = sampled(folder / name, held_out, seed, temperature=1.0)
        right = sum(is_right(plan, by_id[plan.task_id]) for plan in drawn)
        shares[name] = right / (PER_TASK * len(held_out))
    write_text(folder / "shares.json", json.dumps(shares))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
    leave(0)
