"""Model folders of the sandbox: what transformers and vLLM load, and what `Llama` is read from."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from mpo_core.errors import InputError
from mpo_core.sandbox.llama import EPSILON, THETA, Llama, Shape
from mpo_core.sandbox.vocabulary import END, PAD, pretrained, words


def write(model: Llama, folder: Path, card: str, tokenizer: Any = None) -> None:
    """Write weights in bfloat16, configuration, tokenizer (by default the agent's) and card."""
    folder.mkdir(parents=True, exist_ok=True)
    shape, end, pad = model.shape, words().index(END), words().index(PAD)
    configuration = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.feedforward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": EPSILON,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": pad,
        "dtype": "bfloat16",
    }
    _write(folder / "config.json", configuration)
    ends = {"eos_token_id": end, "pad_token_id": pad}
    _write(folder / "generation_config.json", ends)
    weights = {name: w.detach().to(torch.bfloat16) for name, w in model.state_dict().items()}
    # Not by its own `save_file`, which hides that the disk is full.
    (folder / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    tokenizer = tokenizer or pretrained()
    tokenizer.model_max_length = shape.context
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")
    for file in folder.iterdir():
        # Some are written such that only their owner may read them.
        file.chmod(0o644)


def load(folder: Path) -> Llama:
    """A model that `write` wrote, in 32 bits.

    Raises:
        InputError: the folder holds no such model.
    """
    try:
        found = json.loads((folder / "config.json").read_bytes())
        shape = Shape(
            found["vocab_size"],
            found["hidden_size"],
            found["num_hidden_layers"],
            found["num_attention_heads"],
            found["intermediate_size"],
            found["max_position_embeddings"],
        )
        model = Llama(shape)
        model.load_state_dict(
            {n: w.float() for n, w in load_file(folder / "model.safetensors").items()}
        )
    except (
        *(OSError, ValueError, TypeError, LookupError, ArithmeticError),
        *(RuntimeError, SafetensorError),
    ) as error:
        # Weights of another model are told one by one.
        reason = " ".join(repr(error).split())[:200]
        raise InputError(
            f"{folder}: not a model of the sandbox ({reason}); make one with `mpo sandbox build`"
        ) from error
    return model.eval()


def _write(path: Path, tree: dict[str, Any]) -> None:
    path.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
