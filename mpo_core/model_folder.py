"""What makes a folder a Hugging Face model that can be served and trained; told without loading it.

Downloads that were cut off, and checkouts without their large files (Git LFS leaves a note of three
lines in place of each), look like models by their files' names.
"""

import json
from pathlib import Path

TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
    "*.tiktoken",
)
"""Files of which a tokenizer has at least one."""
OBJECTS = ("config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json")
LFS = b"version https://git-lfs"


def model_folder_fault(path: Path) -> str | None:
    """What a folder lacks to be a model with weights and a tokenizer; None if nothing."""
    if (path / "adapter_config.json").is_file():
        return "it holds a LoRA adapter; give its base model"
    if not (path / "config.json").is_file():
        return "no config.json"
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        other = [file.name for file in sorted(path.glob("*.bin"))]
        return f"no *.safetensors (only {', '.join(other)})" if other else "no *.safetensors"
    if not any(any(path.glob(name)) for name in TOKENIZERS):
        return "no tokenizer (no tokenizer.json)"
    try:
        faults = [
            *(_object_fault(path / name) for name in OBJECTS if (path / name).is_file()),
            *map(_weights_fault, weights),
            _missing_shard(path),
        ]
    except OSError as error:
        return f"{error.filename}: not readable ({error.strerror})"
    return next(filter(None, faults), None)


def _object_fault(file: Path) -> str | None:
    content = file.read_bytes()
    try:
        is_object = isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        is_object = False
    return None if is_object else f"{file.name} {_instead(content)}, not JSON settings"


def _weights_fault(file: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    with file.open("rb") as opened:
        content = opened.read(100)
    if not content or content.startswith(LFS):
        return f"{file.name} {_instead(content)}, not weights"
    try:
        with safe_open(file, "np"):
            return None
    except SafetensorError as error:
        return f"{file.name} is cut off or damaged ({error})"


def _missing_shard(path: Path) -> str | None:
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return None
    if fault := _object_fault(index):
        return fault
    named = json.loads(index.read_bytes()).get("weight_map")
    lacking = sorted({n for n in (named or {}).values() if not (path / str(n)).is_file()})
    return f"{lacking[0]} is missing (of {index.name})" if lacking else None


def _instead(content: bytes) -> str:
    if content.startswith(LFS):
        return "is a note of Git LFS (get the files by `git lfs pull`)"
    return f"holds {content[:30].decode(errors='replace')!r}" if content.strip() else "is empty"
