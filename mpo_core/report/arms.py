"""What the report calls the arms of an evaluation."""

ARM_NAMES = {
    "none": "no plan",
    "base": "base planner's plans",
    "sft": "SFT plans",
    "rft": "RFT plans",
    "mpo": "MPO plans",
    "pg": "PG plans",
    "shuffled": "shuffled control's plans",
    "expert": "expert",
}


def arm_name(arm: str) -> str:
    return ARM_NAMES.get(arm, arm)
