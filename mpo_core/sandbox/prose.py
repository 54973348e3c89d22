"""Puts a plan into the words of people, who write as they like: prose, lists, notes.

`wording.write` keeps to sentences that rules can read; here the same steps stand in sentences of
any order, some with the verb implied, numbered in any way or not at all. The learned agent is
trained on both, so that it reads plans of planners and persons that were not made for it.
"""

import random
from collections.abc import Sequence

from mpo_core.abstraction.wording import article
from mpo_core.envs.alfworld.rules import SEVERAL, in_or_on
from mpo_core.envs.alfworld.rules import places as all_of
from mpo_core.sandbox.games import CHANGES
from mpo_core.sandbox.plans import PlanSpec, Step, openable
from mpo_core.sandbox.wording import PADDING

OTHER_NAMES = {
    "fridge": ("fridge", "refrigerator"),
    "sinkbasin": ("sinkbasin", "sink", "tap of the sink"),
    "bathtubbasin": ("bathtubbasin", "bathtub"),
    "countertop": ("countertop", "counter"),
    "garbagecan": ("garbagecan", "garbage can", "bin", "trash can"),
    "sidetable": ("sidetable", "side table"),
    "coffeetable": ("coffeetable", "coffee table"),
    "diningtable": ("diningtable", "dining table"),
    "coffeemachine": ("coffeemachine", "coffee machine"),
    "stoveburner": ("stoveburner", "stove burner", "stove"),
    "sofa": ("sofa", "couch"),
    "desklamp": ("desklamp", "desk lamp"),
    "floorlamp": ("floorlamp", "floor lamp"),
    "cellphone": ("cellphone", "phone", "cell phone"),
    "remotecontrol": ("remotecontrol", "remote", "remote control"),
    "saltshaker": ("saltshaker", "salt shaker"),
    "peppershaker": ("peppershaker", "pepper shaker"),
    "creditcard": ("creditcard", "credit card"),
    "alarmclock": ("alarmclock", "alarm clock"),
    "soapbar": ("soapbar", "bar of soapbar"),
}
"""What people call the engine's kinds, beside its own names."""
LOOK = (
    "look for", "search for", "find", "locate", "seek", "hunt for", "track down", "spot",
    "discover", "try to find", "get hold of", "see if you can find",
)  # fmt: skip
CHECK = (
    "check", "inspect", "search", "look through", "go through", "examine", "explore", "scan", "try",
    "visit", "browse", "have a look at", "start with", "begin with", "begin by checking",
)  # fmt: skip
THEN = ("then", "after that", "next", "afterwards", "else", "otherwise", "failing that", "and")
LIKELY = (
    "is most likely", "is probably", "tends to be", "will mostly be", "is often", "should be",
    "can usually be found",
)  # fmt: skip
TAKE = ("take", "pick up", "grab", "get", "collect", "fetch", "pick", "seize", "take hold of")
GO = ("go to", "walk to", "head to", "bring it to", "carry it to", "move over to", "proceed to")
PUT = ("put", "place", "set", "lay", "leave", "drop", "deposit", "store")
CHANGE = {
    "heat": ("heat", "warm", "warm up", "heat up"),
    "cool": ("cool", "chill", "cool down", "refrigerate"),
    "clean": ("clean", "wash", "rinse", "scrub"),
}
RESULT = {
    "heat": ("hot", "warm", "heated"),
    "cool": ("cold", "cool", "cooled"),
    "clean": ("clean", "cleaned"),
}
USE = ("use", "turn on", "switch on", "light", "activate")
ANOTHER = ("another", "a second", "one more", "the second", "the other")
RESUME = (
    "go back", "return", "resume the search", "carry on where you stopped",
    "go on from where you left off", "continue the search",
)  # fmt: skip
BEGINNINGS = (
    "Here is a plan:", "Plan:", "What to do:", "This is how it can be done:", "A way to do it:",
)  # fmt: skip
ENDINGS = ("That is all.", "Then the task is done.", "Done.")


def write(plan: PlanSpec, rng: random.Random) -> str:
    """The plan's text, as some person might write it."""
    pen = _Pen(rng)
    sentences = pen.sentences(plan.steps)
    if plan.length == "long":
        for text in rng.sample(PADDING, rng.randint(1, 2)):
            sentences.insert(rng.randint(0, len(sentences)), text)
    return pen.page([f"{text[:1].upper()}{text[1:]}" for text in sentences])


class _Pen:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def sentences(self, steps: Sequence[Step]) -> list[str]:
        """A sentence a step; some share one, and some takings go without saying."""
        said: list[str] = []
        for number, step in enumerate(steps):
            same = number > 0 and steps[number - 1].thing == step.thing
            found = same and steps[number - 1].verb == "look"
            if step.verb == "take" and found and self._chance(0.15):
                # It was found to be taken.
                continue
            text = self._step(step, same)
            if said and same and self._chance(0.25):
                said[-1] += f"{self._one(', then', ' and', ';')} {text}"
            else:
                said.append(text)
        return said

    def page(self, sentences: Sequence[str]) -> str:
        """The sentences as steps, as points or as prose."""
        lines = [self._one(f"{text}.", f"{text}.", text) for text in sentences]
        kind = self._one("step", "number", "bullet", "lines", "prose", "prose")
        if kind == "prose":
            order = ["first, ", *[f"{self._one(*THEN)} " for _ in lines]]
            if self._chance(0.5):
                lines = [f"{a}{b[:1].lower()}{b[1:]}" for a, b in zip(order, lines, strict=False)]
                lines = [f"{line[:1].upper()}{line[1:]}" for line in lines]
            body = " ".join(line if line.endswith(".") else f"{line}." for line in lines)
        else:
            point, mark = self._one("-", "*", "•"), self._one(".", ")", ":", ".")
            marks = {
                "step": [f"Step {n}: " for n, _ in enumerate(lines, 1)],
                "number": [f"{n}{mark} " for n, _ in enumerate(lines, 1)],
                "bullet": [f"{point} " for _ in lines],
                "lines": ["" for _ in lines],
            }[kind]
            body = "\n".join(map("".join, zip(marks, lines, strict=True)))
        if self._chance(0.15):
            body = f"{self._one(*BEGINNINGS)}\n{body}"
        return f"{body}\n{self._one(*ENDINGS)}" if self._chance(0.1) else body

    def _step(self, step: Step, same: bool) -> str:
        if step.verb == "nonsense":
            return step.words
        it = self._one(f"the {self._name(step.thing)}", "it") if same else self._the(step.thing)
        if step.verb == "look":
            return self._sweep(step) if step.sweep else self._look(step)
        if step.verb == "take":
            take = self._one(*TAKE)
            return self._one(
                f"{take} {it}", f"{take} {it}", f"once you have found it, {take} {it}",
                f"when you see {it}, {take} {it}",
            )  # fmt: skip
        if step.verb in CHANGES:
            return self._change(step, it)
        if step.verb == "put":
            return self._put(step, it)
        use = self._one(*USE)
        return self._one(
            f"{use} {it}", f"{use} {it} while holding what you carry",
            f"look at what you hold under {it}: {use} it",
        )  # fmt: skip

    def _look(self, step: Step) -> str:
        thing = self._name(step.thing)
        wanted = f"{self._one(*ANOTHER)} {thing}" if step.again else article(thing)
        look, check = self._one(*LOOK), self._one(*CHECK)
        if not step.search:
            return self._one(
                f"{look} {wanted}", f"you need {wanted}, so {look} it",
                f"{look} {wanted} anywhere in the room",
            )  # fmt: skip
        kinds = [self._all(kind) for kind in step.search]
        named = zip(step.search, kinds, strict=True)
        first, *rest = (self._where(kind, name) for kind, name in named)
        then = "".join(f", {self._one(*THEN)} {self._one('', 'try ')}{place}" for place in rest)
        others = self._listed(kinds[1:] or ["the rest"])
        said = self._one(
            f"{look} {wanted} {first}{then}",
            f"{check} {kinds[0]}. No {thing}? Then {self._one(*CHECK)} {others}",
            f"{check} {kinds[0]}; if there is no {thing}, {self._one('', 'try ')}{others}",
            f"{check} {self._listed(kinds)} for {wanted}",
            f"{check} {self._listed(kinds)} to {look} {wanted}",
            f"{check} {self._listed(kinds)} until you see {wanted}",
            f"{wanted} {self._one(*LIKELY)} {first}{then}",
            f"{first} is the place to {look} {wanted}{then}",
            f"{check} {kinds[0]}; no {thing} there? {others} next",
            f"{wanted}: {self._listed(kinds)}",
            f"{self._listed(kinds)}: {look} {wanted} there",
            f"you need {wanted}; {check} {self._listed(kinds)}",
            f"{check} {kinds[0]} for {wanted}{then}",
            f"to {look} {wanted}, {check} {self._listed(kinds)}, in this order",
        )
        if not openable().isdisjoint(step.search):
            said += self._one("", "", "; open what is closed", ", opening them where needed")
        return said

    def _sweep(self, step: Step) -> str:
        thing = self._name(step.thing)
        other, resume = f"{self._one(*ANOTHER)} {thing}", self._one(*RESUME)
        where = f" at {self._listed([self._all(k) for k in step.search])}" if step.search else ""
        return self._one(
            f"{resume}{where} for {other}",
            f"for {other}, {resume}{where}",
            f"{other} comes next: {resume}{where}",
            f"{self._one(*LOOK)} {other} where you saw one, or {resume}{where}",
        )

    def _change(self, step: Step, it: str) -> str:
        verb, device = self._one(*CHANGE[step.verb]), self._the(CHANGES[step.verb])
        made, go = self._one(*RESULT[step.verb]), self._one(*GO)
        return self._one(
            f"{verb} {it} with {device}",
            f"{go} {device} and {verb} {it}",
            f"use {device} to {verb} {it}",
            f"{device} will {verb} {it}",
            f"{verb} {it}",
            f"make {it} {made} {self._one('with', 'in', 'at', 'using')} {device}",
            f"put {it} in {device} to {verb} it",
            f"{it} must be {made}: {go} {device} and {verb} it there",
        )

    def _put(self, step: Step, it: str) -> str:
        kind, put, into = step.place, self._one(*PUT), in_or_on(step.place)
        named = self._name(kind)
        there = article(named) if kind in SEVERAL else f"the {named}"
        said = self._one(
            f"{put} {it} {into} {there}",
            f"{self._one(*GO)} {there} and {put} {it} there",
            f"{into} {there}, {put} {it}",
            f"{it} belongs {into} {there}: {put} it there",
            f"{self._one(*GO)} {there}, {put} {it}",
            f"{there} is where to {put} {it}",
        )
        if not step.opens:
            return said
        return self._one(
            f"open {there}, then {said}",
            f"{said}, which you open first",
            f"{said}; if it is closed, open it before",
            f"{said}, after opening it",
            f"{self._one(*GO)} {there}, open it and {put} {it} inside",
        )

    def _where(self, kind: str, named: str) -> str:
        return f"{self._one(in_or_on(kind), in_or_on(kind), 'at', 'among')} {named}"

    def _listed(self, words: Sequence[str]) -> str:
        if len(words) == 1:
            return words[0]
        *most, last = words
        join = self._one(", ", ", then ", ", next ", " and ", "; ", " or ")
        before_last = self._one(" and ", ", then ", " and finally ", " or ", join)
        return f"{join.join(most)}{before_last}{last}"

    def _all(self, kind: str) -> str:
        """A kind's places: `the cabinets`, `every cabinet`."""
        named = self._name(kind)
        if named == kind:
            return self._one(all_of(kind), all_of(kind), f"each {kind}", f"the {kind}")
        return f"the {named}"

    def _the(self, thing: str) -> str:
        return f"the {self._name(thing)}"

    def _name(self, kind: str) -> str:
        return self._one(kind, *OTHER_NAMES.get(kind, ()))

    def _one(self, *choices: str) -> str:
        return self._rng.choice(choices)

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share
