"""A chat model of about 500,000 weights, made from scratch, that writes plans of a few steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
WEIGHTS = b"\x08" + b"\0" * 7 + b"{}" + b" " * 6
"""A file of weights, of no tensors."""
SPECIAL = ["<s>", "</s>"]


def make_tokenizer(texts: Sequence[str]):
    """Subwords of these texts, and every byte, so that any text can be read and written."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    bos, eos = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=eos,
        chat_template=TEMPLATE,
    )


def make_chat_model(
    folder: Path,
    rows: Sequence[tuple[str, str]],
    epochs: int = 0,
    *,
    texts: Sequence[str] = (),
    seed: int = 0,
    **config: Any,
) -> Path:
    """A Llama that has seen each (prompt, answer) `epochs` times; without, its weights are random.

    Args:
        texts: what the tokenizer is to be good at, besides the rows.
        config: of the Llama, where it is to differ.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer([*texts, *(text for row in rows for text in row)])
    tokenizer.save_pretrained(folder)
    torch.set_num_threads(1)  # More only get into each other's way with so small a model.
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            **{
                "vocab_size": len(tokenizer),
                "hidden_size": 128,
                "intermediate_size": 256,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "max_position_embeddings": 4096,
                "bos_token_id": 0,
                "eos_token_id": 1,
                "pad_token_id": 1,
            }
            | config
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(epochs * len(rows)):
        prompt, answer = rows[step % len(rows)]
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        asked = tokenizer.apply_chat_template(
            messages[:1], add_generation_prompt=True, return_dict=False
        )
        tokens = torch.tensor([tokenizer.apply_chat_template(messages, return_dict=False)])
        labels = tokens.clone()
        labels[:, : len(asked)] = -100
        optimizer.zero_grad()
        model(tokens, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder


def prompt_texts(env: str) -> list[str]:
    """What an environment's planner, agent and teacher are told."""
    from mpo_core.envs.base import suite_class

    return [path.read_text() for path in suite_class(env).prompts.glob("*.txt")]


def make_planner(folder: Path) -> dict[str, Any]:
    """A chat model in `model` that writes plans, and in `prompts` planner prompts as short as those
    that it has learnt.

    Returns:
        The model's section of a config.
    """
    envs = ("scienceworld", "alfworld")
    for env in envs:
        (folder / "prompts" / env).mkdir(parents=True)
        (folder / "prompts" / env / "planner.txt").write_text("Plan: {task}")
    things = ("a cup", "an egg", "the lamp", "a plant", "a dog", "some water", "a book", "a pan")
    taught = [
        (f"Plan: find {thing}.", f"Step 1: Go to the {room}.\nStep 2: Take {thing}.")
        for thing in things
        for room in ("kitchen", "garden", "desk")
    ]
    texts = [text for env in envs for text in prompt_texts(env)]
    make_chat_model(folder / "model", taught, epochs=8, texts=texts)
    return {
        "source": str(folder / "model"),
        "max_model_len": 1024,
        "max_lora_rank": 8,
        "engine_kwargs": {"max_num_seqs": 16},
    }
