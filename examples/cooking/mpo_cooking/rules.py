"""Rules for the cooking games: what is fetched, cooked and cut, told in general terms."""

import re
from collections.abc import Sequence

from mpo_core.abstraction.wording import read

_DEEDS = {
    "arrive": re.compile(r"examine cookbook"),
    "open": re.compile(r"open (?P<place>.+)"),
    "take": re.compile(r"take (?P<thing>.+?)(?: from (?P<place>.+))?"),
    "cook": re.compile(r"cook (?P<thing>.+) with (?P<tool>.+)"),
    "cut": re.compile(r"(?P<how>chop|slice|dice) (?P<thing>.+) with (?P<tool>.+)"),
    "eat": re.compile(r"eat meal"),
}


def cooking_steps(actions: Sequence[str]) -> list[str]:
    """Steps of a plan, each without its number and full stop. Ways through rooms leave no trace."""
    deeds = [read(_DEEDS, action) for action in actions]
    sources = {said["place"] for verb, said in deeds if verb == "take"}
    steps = []
    for verb, said in deeds:
        if verb == "arrive":
            steps.append("go to the kitchen")
        elif verb == "open" and said["place"] in sources:
            steps.append(f"open the {said['place']}")
        elif verb == "take" and said["thing"] != "knife":
            first = f", first at the {said['place']}," if said["place"] else ""
            steps.append(f"look for the {said['thing']}{first} and take it")
        elif verb == "cook":
            steps.append(f"cook the {said['thing']} with the {said['tool']}, once only")
        elif verb == "cut":
            steps.append(f"take the {said['tool']} and {said['how']} the {said['thing']} with it")
        elif verb == "eat":
            steps.append("prepare the meal in the kitchen and eat it")
    return list(dict.fromkeys(steps))
