"""A trained planner as a model folder of its own."""

from pathlib import Path

from mpo_core.files import whole_folder
from mpo_core.models import weights_fingerprint


def merged(base: str, planner: Path) -> Path:
    """A folder with the planner's whole weights: the planner's own, or its adapter merged in.

    The merged model is written once, beside the planner, and is there whole or not at all.

    Args:
        base: folder or hub id of the model that the adapter was trained on.
        planner: folder of a LoRA adapter or of a whole model.
    """
    if not (planner / "adapter_config.json").is_file():
        return planner
    # Named after the weights: an adapter trained anew is merged anew.
    folder = planner.with_name(weights_fingerprint(planner))
    if folder.is_dir():
        return folder
    import torch
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    # Added up in float32, and rounded once, to what the base is stored in.
    stored = AutoConfig.from_pretrained(base).dtype or torch.float32
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    whole = PeftModel.from_pretrained(model, planner).merge_and_unload().to(stored)
    with whole_folder(folder) as partial:
        whole.save_pretrained(partial)
        AutoTokenizer.from_pretrained(base).save_pretrained(partial)
    return folder
