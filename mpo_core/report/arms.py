"""What the report calls the arms of an evaluation."""

from mpo_core.config import ROUND_ARM

ARM_NAMES = {
    "none": "no plan",
    "base": "base planner's plans",
    "sft": "SFT plans",
    "rft": "RFT plans",
    "mpo": "MPO plans",
    "teacher": "teacher's plans",
    "oracle": "oracle's plans",
    "pg": "PG plans",
    "shuffled": "shuffled control's plans",
    "expert": "expert",
    "off": "no plan (off)",
}


def arm_name(arm: str) -> str:
    """An arm of the config in the report's words; one of `plan_files` is its own name."""
    if of_round := ROUND_ARM.fullmatch(arm):
        return f"MPO plans, round {of_round[1]}"
    return ARM_NAMES.get(arm, arm)
