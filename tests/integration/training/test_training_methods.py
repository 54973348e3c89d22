"""SFT, and what continues it: which tokens count, and what DPO and policy gradient are measured
against.

Every batch here holds all rows, so a step's figures are those of the whole file under the weights
before the step, which the tests work out for themselves from the saved planners.
"""

import json
from math import exp, log
from pathlib import Path

import pytest

from mpo_core.training.run import STOP
from tests.integration.training.torchrun import run_all, write_job

N = 24
STEPS = 6
BETA = 0.1
SHARED = {
    "batch_size": N,
    "micro_batch_size": 2,
    "learning_rate": 1e-2,
    "scheduler": "constant",
    "lora": {"rank": 4, "alpha": 8},
    "precision": "fp32",
    "max_steps": STEPS,
    "save_steps": STEPS - 1,
    "max_length": 68,
}
FULL = {"method": "full", "learning_rate": 1e-3}
# Three rows of 19 to 22 tokens fit into a sequence of 68, four do not.
PACKED = {"packing": True, "batch_size": N // 3}

# What saves memory must not change the result.
FRUGAL = {"gradient_checkpointing": True, "zero_stage": 3, "micro_batch_size": 6}

# DPO's own loss, which is known where it starts.
ALONE = {"sft_weight": 0.0}

# So slow that the better plans do not all come to weigh the most that they can.
SLOW = {"learning_rate": 1.2e-3}

# Name -> objective, settings, and the training that it continues. `stopped` and `resumed` share a
# folder of checkpoints: one training, asked to stop at once and taken up again.
JOBS = {
    "sft": ("sft", {}, None),
    "sft-full": ("sft", FULL | {"zero_stage": 3}, None),
    "sft-packed": ("sft", PACKED, None),
    "rft": ("sft", {"precision": "bf16"}, "sft"),
    "dpo": ("dpo", ALONE, "sft"),
    "dpo-1": ("dpo", {"zero_stage": 1, "precision": "bf16", "sft_weight": 0.5}, "sft"),
    "dpo-3": ("dpo", ALONE | {"zero_stage": 3, "precision": "bf16", "micro_batch_size": 6}, "sft"),
    "dpo-full": ("dpo", FULL | ALONE, "sft-full"),
    "stopped": ("dpo", FRUGAL | ALONE, "sft"),
    "resumed": ("dpo", FRUGAL | ALONE, "sft"),
    "dpo-useless": ("dpo", ALONE, "sft"),
    "pg": ("pg", SLOW, "sft"),
    "pg-full": ("pg", FULL | {"sft_weight": 0.5}, "sft-full"),
    "pg-stopped": ("pg", FRUGAL | SLOW, "sft"),
    "pg-resumed": ("pg", FRUGAL | SLOW, "sft"),
}
CAP = 3.0
# Put between the pairs of `dpo-useless`: number of the pair before it -> what it makes of that.
USELESS = {
    3: lambda pair: pair,
    4: lambda pair: pair | {"rejected": pair["chosen"]},
    9: lambda pair: pair | {"chosen": [{"role": "assistant", "content": " "}]},
}
# Trainings that are also measured on validation rows: the very rows that they learn.
MEASURED = ("sft", "dpo", "dpo-full", "pg")
FIGURES = {
    "sft": (),
    "dpo": ("rewards/margins", "rewards/accuracies", "logps/chosen"),
    "pg": ("ratio/mean", "ratio/capped", "logratio/better", "logratio/worse", "kl"),
}


@pytest.fixture(scope="module")
def trained(model, pairs, demonstrations, scored, tmp_path_factory):
    """Folder by name of the job, all run by two processes under torchrun."""
    root = tmp_path_factory.mktemp("methods")
    jobs = []
    for name, (objective, settings, start) in JOBS.items():
        fields = {"objective": objective}
        if start:
            fields["start"] = str(root / start / "planner")
        if name.endswith("stopped"):
            ask_to_stop(root / name / "work")
        if name.endswith("resumed"):
            fields["work"] = str(root / name.replace("resumed", "stopped") / "work")
        rows = {"sft": demonstrations, "dpo": pairs, "pg": scored}[objective]
        if name == "dpo-useless":
            rows = with_useless_pairs(pairs, root / "useless.jsonl")
        if name in MEASURED:
            fields["validation"] = str(rows)
        jobs.append(write_job(root / name, model, rows, SHARED | settings, **fields))
    run_all(root, jobs)
    return {name: root / name for name in JOBS}


def with_useless_pairs(pairs: Path, out: Path) -> Path:
    lines = pairs.read_text().splitlines()
    for k, change in sorted(USELESS.items(), reverse=True):
        lines.insert(k + 1, json.dumps(change(json.loads(lines[k]))))
    out.write_text("\n".join(lines))
    return out


def ask_to_stop(work: Path) -> None:
    work.mkdir(parents=True)
    (work / STOP).touch()


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "planner" / "training.json").read_text())


def load(folder: Path, base: Path | None = None):
    """A whole model, or an adapter on its base."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if base is None:
        return AutoModelForCausalLM.from_pretrained(folder)
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)


def answer_logps(planner, tokenizer_folder: Path, rows: Path, side: str = "completion"):
    """Log-probability of every token of every answer: a list of tensors, a row each."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    found = []
    for row in map(json.loads, rows.read_text().splitlines()):
        [prompt], [answer] = row["prompt"], row[side]
        # Written out, not by the chat template.
        before = f"<s> user {prompt['content']} </s> <s> assistant"
        ids = tokenizer(f"{before} {answer['content']} </s>", return_tensors="pt")["input_ids"]
        start = len(tokenizer(before)["input_ids"])
        logps = planner(input_ids=ids).logits[0, :-1].log_softmax(-1)
        found.append(logps.gather(1, ids[0, 1:, None])[start - 1 :, 0])
    return found


def mean_loss(logps):
    """Per token, not per row."""
    return -sum(row.sum() for row in logps) / sum(len(row) for row in logps)


@pytest.mark.parametrize("name", ["sft", "sft-full", "sft-packed", "rft"])
def test_sft_trains_on_deepspeed_and_the_loss_falls(trained, name):
    summary = summary_of(trained[name])
    assert (summary["objective"], summary["engine"]) == ("sft", "DeepSpeedEngine")
    assert (summary["world_size"], summary["steps"]) == (2, STEPS)
    assert (summary["n_rows"], summary["n_cut"], summary["n_dropped"]) == (N, 0, 0)
    assert summary["loss_last"] < summary["loss_first"] - 0.1
    accuracy = [row["mean_token_accuracy"] for row in summary["curve"]]
    assert accuracy[-1] > accuracy[0]
    assert summary["metrics"]["token_accuracy"] == accuracy[-1]


@pytest.mark.parametrize("name", ["sft", "sft-full", "sft-packed"])
def test_only_the_answers_tokens_count_each_alike(trained, model, demonstrations, name):
    expected = mean_loss(answer_logps(load(model), model, demonstrations)).item()
    assert summary_of(trained[name])["loss_first"] == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_the_answers_mean_loss(trained, model, demonstrations):
    """Two workers and six micro-batches of unequal length make one batch."""
    planner = load(model)
    mean_loss(answer_logps(planner, model, demonstrations)).backward()
    norm = sum((weight.grad**2).sum() for weight in planner.parameters()).sqrt().item()
    assert summary_of(trained["sft-full"])["curve"][0]["grad_norm"] == pytest.approx(norm, rel=1e-3)


def test_sft_continues_an_adapter(trained, model, demonstrations):
    start = load(trained["sft"] / "planner", model)
    expected = mean_loss(answer_logps(start, model, demonstrations)).item()
    summary = summary_of(trained["rft"])
    assert summary["start"] == str(trained["sft"] / "planner")
    assert summary["loss_first"] == pytest.approx(expected, rel=0.02)
    assert expected < summary_of(trained["sft"])["loss_first"] - 0.1


@pytest.mark.parametrize("name", ["dpo", "dpo-1", "dpo-3", "dpo-full"])
def test_dpo_starts_at_its_reference(trained, model, pairs, name):
    start_name = JOBS[name][2]
    base = None if start_name == "sft-full" else model
    start = load(trained[start_name] / "planner", base)
    rough = 0.02 if JOBS[name][1].get("precision") == "bf16" else 1e-4
    chosen = answer_logps(start, model, pairs, "chosen")
    mean_chosen = sum(row.sum().item() for row in chosen) / N

    first = summary_of(trained[name])["curve"][0]
    assert first["logps/chosen"] == pytest.approx(mean_chosen, rel=rough)
    assert first["rewards/chosen"] == first["rewards/rejected"] == first["rewards/margins"] == 0
    sft_weight = JOBS[name][1]["sft_weight"]
    expected = log(2) + sft_weight * mean_loss(chosen).item()
    assert first["loss"] == pytest.approx(expected, rel=rough if sft_weight else 1e-5)

    untrained = answer_logps(load(model), model, pairs, "chosen")
    assert abs(sum(row.sum().item() for row in untrained) / N - mean_chosen) > 1


def test_the_reference_stays_the_adapter_that_dpo_started_from(trained, model, pairs):
    last = trained["dpo"] / "work" / f"checkpoint-{STEPS - 1}"
    policy, reference = load(last, model), load(trained["sft"] / "planner", model)

    def reward(side: str) -> float:
        after, before = (answer_logps(m, model, pairs, side) for m in (policy, reference))
        return (
            BETA * sum((a.sum() - b.sum()).item() for a, b in zip(after, before, strict=True)) / N
        )

    last_row = summary_of(trained["dpo"])["curve"][-1]
    assert last_row["rewards/chosen"] == pytest.approx(reward("chosen"), abs=1e-4)
    assert last_row["rewards/rejected"] == pytest.approx(reward("rejected"), abs=1e-4)
    assert last_row["rewards/margins"] > 0.05


def advantages_of(scored: Path) -> list[float]:
    return [json.loads(line)["advantage"] for line in scored.read_text().splitlines()]


def test_policy_gradient_starts_at_its_reference(trained, model, scored):
    first, gains = summary_of(trained["pg"])["curve"][0], advantages_of(scored)
    assert first["loss"] == pytest.approx(-sum(gains) / N, rel=1e-5)
    assert (first["ratio/mean"], first["ratio/capped"], first["kl"]) == (1, 0, 0)
    assert first["logratio/better"] == first["logratio/worse"] == 0


def test_the_gradient_is_reinforces_and_that_of_the_better_plans_likelihood(trained, scored):
    start = load(trained["sft-full"] / "planner")
    losses = [
        -gain * row.sum() - 0.5 * (gain > 0) * row.mean()
        for row, gain in zip(
            answer_logps(start, trained["sft-full"] / "planner", scored),
            advantages_of(scored),
            strict=True,
        )
    ]
    (sum(losses) / N).backward()
    norm = sum((weight.grad**2).sum() for weight in start.parameters()).sqrt().item()
    assert summary_of(trained["pg-full"])["curve"][0]["grad_norm"] == pytest.approx(norm, rel=1e-3)


def test_later_steps_weigh_plans_by_the_ratio_to_the_planner_that_wrote_them(
    trained, model, scored
):
    last = trained["pg"] / "work" / f"checkpoint-{STEPS - 1}"
    policy, reference = load(last, model), load(trained["sft"] / "planner", model)
    after, before = (answer_logps(m, model, scored) for m in (policy, reference))
    logratios = [(a.sum() - b.sum()).item() for a, b in zip(after, before, strict=True)]
    ratios, gains = [min(exp(x), CAP) for x in logratios], advantages_of(scored)
    row = summary_of(trained["pg"])["curve"][-1]
    expected = -sum(ratio * gain for ratio, gain in zip(ratios, gains, strict=True)) / N
    assert row["loss"] == pytest.approx(expected, rel=1e-3)
    assert row["ratio/mean"] == pytest.approx(sum(ratios) / N, rel=1e-3)
    assert row["ratio/capped"] == pytest.approx(ratios.count(CAP) / N)
    assert 0 < row["ratio/capped"] < 1
    better, worse = logratios[::2], logratios[1::2]
    assert row["logratio/better"] == pytest.approx(sum(better) / len(better), rel=1e-3)
    assert row["logratio/worse"] == pytest.approx(sum(worse) / len(worse), rel=1e-3)
    assert row["logratio/better"] > 0.5 and row["logratio/worse"] < 0
    kl = [-x / len(tokens) for x, tokens in zip(logratios, after, strict=True)]
    assert row["kl"] == pytest.approx(sum(kl) / N, rel=1e-3, abs=1e-5)


def test_a_training_asked_to_stop_saves_its_step_and_no_planner(trained):
    left = [entry.name for entry in trained["stopped"].iterdir()]
    assert "planner" not in left
    # The request is met once: the same command, with no file to remove first, goes on.
    assert not (trained["stopped"] / "work" / STOP).exists()


@pytest.mark.parametrize(
    ("name", "resumed", "figures"),
    [
        ("dpo", "resumed", ("rewards/chosen", "rewards/rejected", "logps/chosen")),
        ("pg", "pg-resumed", FIGURES["pg"]),
    ],
)
def test_a_resumed_training_keeps_its_reference_at_stage_3_too(trained, name, resumed, figures):
    whole, resumed = summary_of(trained[name]), summary_of(trained[resumed])
    assert resumed["resumed_from"] == 1
    assert [row["step"] for row in resumed["curve"]] == list(range(1, STEPS + 1))
    for figure in ("loss", "grad_norm", *figures):
        expected = pytest.approx(whole["curve"][-1][figure], rel=1e-4)
        assert resumed["curve"][-1][figure] == expected


@pytest.mark.parametrize("name", ["dpo", "dpo-3", "rft", "pg"])
def test_the_result_is_one_adapter_on_the_base_model(trained, model, name):
    planner = trained[name] / "planner"
    assert [entry.name for entry in planner.iterdir() if entry.is_dir()] == []
    settings = json.loads((planner / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(model)
    after = load(planner, model).state_dict()
    before = load(trained["sft"] / "planner", model).state_dict()
    assert after.keys() == before.keys()
    changed = {key for key in after if not after[key].equal(before[key])}
    assert changed and all("lora_" in key for key in changed)


@pytest.mark.parametrize("name", MEASURED)
def test_validation_rows_are_measured_at_each_checkpoint_and_at_the_end(trained, name):
    summary = summary_of(trained[name])
    at_checkpoint, at_end = summary["validation"]
    assert (at_checkpoint["step"], at_end["step"]) == (STEPS - 1, STEPS)
    # The weights that a step starts from are those measured after the step before.
    last = summary["curve"][-1]
    assert at_checkpoint["eval_loss"] == pytest.approx(last["loss"], rel=1e-3)
    for figure in FIGURES[JOBS[name][0]]:
        assert at_checkpoint[f"eval_{figure}"] == pytest.approx(last[figure], rel=1e-3)
    assert at_end["eval_loss"] < at_checkpoint["eval_loss"]


def test_pairs_that_teach_nothing_are_left_out_and_said_so(trained):
    clean, useless = summary_of(trained["dpo"]), summary_of(trained["dpo-useless"])
    losses = [[row["loss"] for row in summary["curve"]] for summary in (clean, useless)]
    assert losses[0] == losses[1]
    assert (useless["n_rows"], useless["n_dropped"]) == (N + len(USELESS), len(USELESS))
    assert useless["dropped"] == {
        "the pair was stated before": 1,
        "chosen and rejected are the same": 1,
        "an answer is blank": 1,
    }
    [warning] = [text for text in useless["warnings"] if text not in clean["warnings"]]
    assert "teach nothing" in warning
