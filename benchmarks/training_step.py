"""What a training step costs on this machine's GPU: seconds, memory, share of its matrix rate.

A model of random weights is trained by `mpo_core.training` on made-up rows, with the settings of a
preset on one of its workers, and the figures are printed as a line of JSON:

    python benchmarks/training_step.py dpo --model llama-8b gradient_checkpointing=false

The matrix rate is that of a large bfloat16 product, measured in the same process just before.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.configs import named_config
from mpo_core.builtin_models import resolve_source
from mpo_core.config import validated
from mpo_core.overrides import apply_override
from mpo_core.training.run import train
from mpo_core.training.settings import CONFIGS, TrainingJob

# Layers, width, heads, heads of keys, inner width, vocabulary, output tied to input.
SHAPES = {
    "smollm2-135m": (30, 576, 9, 3, 1536, 49152, True),
    "llama-1b": (16, 2048, 32, 8, 8192, 128256, True),
    "llama-8b": (32, 4096, 32, 8, 14336, 128256, False),
}
WARM_UP = 2
"""Steps before the clock starts."""


def make_model(folder: Path, shape: str, tokenizer: str) -> None:
    """A Llama of random bfloat16 weights, which `tokenizer`'s vocabulary fits into."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    layers, width, heads, kv_heads, inner, vocabulary, tied = SHAPES[shape]
    source = resolve_source(tokenizer) if tokenizer.startswith("builtin:") else tokenizer
    words = AutoTokenizer.from_pretrained(source)
    config = LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=inner,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        max_position_embeddings=8192,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    del model
    torch.cuda.empty_cache()


def make_rows(file: Path, objective: str, n: int, prompt_tokens: int, plan_tokens: int) -> None:
    """Rows of about so many tokens, a quarter more or less: a digit and its space are two."""
    draw = random.Random(0)

    def says(role: str, tokens: int) -> list[dict[str, str]]:
        n = int(tokens * draw.uniform(0.75, 1.25)) // 2
        return [{"role": role, "content": " ".join(draw.choice("0123456789") for _ in range(n))}]

    rows = []
    for _ in range(n):
        row: dict[str, Any] = {"prompt": says("user", prompt_tokens)}
        for side in ("chosen", "rejected") if objective == "dpo" else ("completion",):
            row[side] = says("assistant", plan_tokens)
        if objective == "pg":
            row["advantage"] = draw.choice([-1.0, 1.0])
        rows.append(json.dumps(row) + "\n")
    file.write_text("".join(rows), encoding="utf-8")


def matrix_rate() -> float:
    """Operations a second of a bfloat16 matrix product of 8192 x 8192 x 8192."""
    import torch

    n = 8192
    a, b = torch.randn(2, n, n, device="cuda", dtype=torch.bfloat16)
    seconds = []
    for _ in range(30):
        torch.cuda.synchronize()
        began = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    del a, b
    torch.cuda.empty_cache()
    return 2 * n**3 / statistics.median(seconds)


def operations(shape: str, objective: str, full: bool, length: float, answer: float) -> float:
    """Operations that a token read must cost: those of matrix products, nothing computed twice.

    A pass forward, one backward, for all weights as much again, and the reference's pass.

    Args:
        length, answer: mean tokens of a sequence, and of its answer, the only ones with logits.
    """
    layers, width, heads, kv_heads, inner, vocabulary, _ = SHAPES[shape]
    projections = 2 * width * width * (1 + kv_heads / heads) + 3 * width * inner
    attention = 2 * length * width / 2  # Scores and values, over half of the sequence.
    body = layers * (projections + attention)
    passes = 2 + full + (objective != "sft")
    return 2 * passes * (body + width * vocabulary * answer / length)


@contextmanager
def timed_reference(spent: list[float]) -> Iterator[None]:
    """Note the seconds of each of TRL's passes of the reference."""
    import torch
    from trl.trainer import dpo_trainer

    inner = dpo_trainer.disable_gradient_checkpointing

    @contextmanager
    def timed(*arguments: Any) -> Iterator[None]:
        torch.cuda.synchronize()
        began = time.perf_counter()
        with inner(*arguments):
            yield
        torch.cuda.synchronize()
        spent.append(time.perf_counter() - began)

    dpo_trainer.disable_gradient_checkpointing = timed
    yield
    dpo_trainer.disable_gradient_checkpointing = inner


def settings(objective: str, preset: str, steps: int, overrides: list[str]) -> dict[str, Any]:
    """Those of the preset, on one worker with its share of the batch."""
    config = named_config(preset)
    section = (config.planner.sft if objective == "sft" else config.training).model_dump()
    section |= {"batch_size": section["batch_size"] // section["workers"], "workers": 1}
    section |= {"max_steps": WARM_UP + steps, "save_steps": 10**6}
    for override in overrides:
        apply_override(section, override, CONFIGS[objective])
    return section


def measure(given: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    import torch

    section = settings(given.objective, given.preset, given.steps, given.overrides)
    config = validated(CONFIGS[given.objective], section, "settings")
    model, rows = (given.dir or scratch) / given.model, scratch / "rows.jsonl"
    if not model.exists():
        make_model(model, given.model, given.tokenizer)
    n_rows = config.batch_size * config.max_steps
    make_rows(rows, given.objective, n_rows, given.prompt_tokens, given.plan_tokens)
    rate = matrix_rate()
    torch.cuda.reset_peak_memory_stats()

    job = TrainingJob(
        rows=rows,
        model=str(model),
        out=scratch / "planner",
        work=scratch / "work",
        config=config,
        seed=0,
        objective=given.objective,
    )
    ends, reference, passes_until = [], [], []

    def note(row: dict[str, Any]) -> None:
        if "loss" in row:
            ends.append(row["seconds"])
            passes_until.append(len(reference))

    # TRL looks for the engine that the process is set up for when it is imported.
    from mpo_core.training.engine import prepare_process

    prepare_process(config)
    with timed_reference(reference):
        summary = train(job, note)

    seconds = statistics.median(
        after - before for before, after in zip(ends[WARM_UP - 1 :], ends[WARM_UP:], strict=False)
    )
    counted = [row["num_tokens"] for row in summary.curve]
    tokens = (counted[-1] - counted[WARM_UP - 1]) / given.steps
    sequences = config.batch_size * (2 if given.objective == "dpo" else 1)
    length = tokens / sequences
    needed = tokens * operations(
        given.model, given.objective, config.method == "full", length, given.plan_tokens
    )
    in_reference = sum(reference[passes_until[WARM_UP - 1] :]) / (ends[-1] - ends[WARM_UP - 1])
    return {
        "card": torch.cuda.get_device_name(),
        "model": given.model,
        "objective": given.objective,
        "settings": given.overrides,
        "sequence_tokens": round(length),
        "step_seconds": round(seconds, 3),
        "step_tokens": round(tokens),
        "tokens_per_s": round(tokens / seconds),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 2**30, 1),
        "reserved_gb": round(torch.cuda.max_memory_reserved() / 2**30, 1),
        "reference_share": round(in_reference, 3),
        "matrix_tflops": round(rate / 1e12),
        "needed_tflops": round(needed / seconds / 1e12),
        "of_matrix_rate": round(needed / seconds / rate, 3),
        "losses": [round(row["loss"], 4) for row in summary.curve],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("objective", choices=CONFIGS)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    parser.add_argument("--model", choices=SHAPES, default="llama-8b")
    parser.add_argument("--preset", default="scienceworld-llama3.1-8b-lora")
    parser.add_argument(
        "--tokenizer",
        default="builtin:smollm2-135m-instruct",
        help="a folder or hub id that has a tokenizer and a chat template",
    )
    parser.add_argument("--prompt-tokens", type=int, default=500)
    parser.add_argument("--plan-tokens", type=int, default=100)
    parser.add_argument("--steps", type=int, default=4, help="steps to time, after two others")
    parser.add_argument("--dir", type=Path, help="where the model is made, to be found again")
    given = parser.parse_intermixed_args()
    with TemporaryDirectory(dir=given.dir) as scratch:
        print(json.dumps(measure(given, Path(scratch))))


if __name__ == "__main__":
    main()
