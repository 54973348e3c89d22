"""A tiny chat model, made from scratch, and rows that it can learn within a few steps."""

import json
from pathlib import Path

WORDS = ["go", "to", "the", "kitchen", "find", "water", "heat", "it", "wait", "look", "around"]
TEMPLATE = (
    "{% for m in messages %}<s> {{ m['role'] }} {{ m['content'] }} </s> {% endfor %}"
    "{% if add_generation_prompt %}<s> assistant {% endif %}"
)


def make_model(folder: Path) -> Path:
    """A Llama of about 60,000 weights, its heads of a size that vLLM serves, and a tokenizer of
    whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = ["<unk>", "<s>", "</s>", "user", "assistant", *WORDS]
    vocabulary += [str(number) for number in range(100)]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        )
    ).save_pretrained(folder)
    return folder


def make_adapter(folder: Path, model: Path) -> Path:
    """A LoRA adapter of random weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    settings = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules="all-linear",
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), settings).save_pretrained(folder)
    return folder


def make_pairs(file: Path, n: int = 24, long: int = 0) -> Path:
    """Pairs whose chosen plan heats the water and whose rejected one looks around; the first
    `long` of them are of 120 words and more."""

    def score(mean: float) -> dict:
        evidence = {"n": 2, "mean": mean, "stderr": 0.0, "rewards": [mean, mean]}
        return {"task_id": "t", "plan_id": str(mean)} | evidence

    rows = []
    for i in range(n):
        good = f"go to the kitchen find water heat it {i}" + " wait" * (120 if i < long else 0)
        rows.append(
            {
                "task_id": f"t/{i}",
                "prompt": [{"role": "user", "content": f"heat the water {i}"}],
                "chosen": [{"role": "assistant", "content": good}],
                "rejected": [{"role": "assistant", "content": f"look around wait look around {i}"}],
                "chosen_score": score(1.0),
                "rejected_score": score(0.0),
                "rule": "best_worst",
            }
        )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def make_demonstrations(file: Path, n: int = 24, long: int = 0, hopeless: int = 0) -> Path:
    """Plans of 10 to 13 tokens; the first `long` of them are of 120 words and more, and `hopeless`
    further ones have such a prompt."""
    rows = []
    for i in range(n + hopeless):
        task = f"heat the water {i}" + " please" * (120 if i >= n else 0)
        plan = f"go to the kitchen find water heat it {i}" + " wait" * (120 if i < long else i % 4)
        rows.append(
            {
                "task_id": f"t/{i}",
                "prompt": [{"role": "user", "content": task}],
                "completion": [{"role": "assistant", "content": plan}],
                "origin": "rule",
            }
        )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def make_scored(file: Path, n: int = 24) -> Path:
    """Plans that heat the water, better than the mean by more and more, and as many that look
    around, worse than it by half a deviation."""
    rows = []
    for i in range(n // 2):
        plans = (
            (f"go to the kitchen find water heat it {i}", 1 + i / 10),
            ("look around wait", -0.5),
        )
        rows += [
            {
                "prompt": [{"role": "user", "content": f"heat the water {i}"}],
                "completion": [{"role": "assistant", "content": text}],
                "advantage": advantage,
            }
            for text, advantage in plans
        ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
