"""Puts a plan into words: as the rule-based teacher does, or in one of very many other wordings.

What is drawn changes no meaning: `reading.read` reads the same steps out of every wording.
"""

import random
from collections.abc import Sequence

from mpo_core.abstraction.wording import article
from mpo_core.envs.alfworld.rules import SEVERAL, in_or_on
from mpo_core.envs.alfworld.rules import places as all_of
from mpo_core.sandbox.games import CHANGES
from mpo_core.sandbox.plans import PlanSpec, Step, openable

LOOK = ("look for", "search for", "find", "try to find", "seek", "hunt for", "locate")
GO = ("go to", "walk to", "head to", "move over to")
TAKE = ("take", "pick up", "grab", "get")
PUT = ("put", "place", "set", "lay")
CHANGE = {
    "heat": ("heat", "warm"),
    "cool": ("cool", "chill"),
    "clean": ("clean", "wash", "rinse"),
}
USE = ("use", "turn on", "switch on")
ANOTHER = ("another", "a second", "one more")
PADDING = (
    "read the task once more",
    "remember what the task asks for",
    "keep the goal in mind",
    "do one thing at a time",
    "pay attention to what you see",
    "be patient",
)
"""Sentences that ask for nothing."""
NONSENSE = (
    "sing a song to the neighbours",
    "count the windows of the house twice",
    "think about the weather of tomorrow",
    "write a letter to your aunt",
    "dance around the room",
    "ask the cat for its opinion",
    "look for the meaning of life",
    "open your heart",
    "wait until the moon is full",
    "take a deep breath",
)


def write(plan: PlanSpec, rng: random.Random | None = None) -> str:
    """The plan's text, `Step 1: ...` a line. Without `rng`, in the teacher's words."""
    sentences: list[str] = []
    pen = _Pen(rng)
    for step in plan.steps:
        said = pen.sentence(step)
        joins = plan.length == "short" and sentences and pen.joins(step)
        if joins:
            sentences[-1] += f" and {said}"
        else:
            sentences.append(said)
        pen.last = step
    if plan.length == "long":
        sentences = pen.padded(sentences)
    return "\n".join(
        f"Step {number}: {text[:1].upper()}{text[1:]}." for number, text in enumerate(sentences, 1)
    )


class _Pen:
    """Words the steps of one plan; without a generator, always the first choice."""

    def __init__(self, rng: random.Random | None) -> None:
        self._rng = rng
        self.last: Step | None = None

    def sentence(self, step: Step) -> str:
        if step.verb == "nonsense":
            return step.words
        if step.verb == "look":
            return self._sweep(step) if step.sweep else self._look(step)
        if step.verb == "take":
            return f"{self._one(*TAKE)} {self._it(step)}"
        if step.verb in CHANGES:
            return self._change(step)
        if step.verb == "put":
            return self._put(step)
        return self._one(
            f"{self._one(*USE)} the {step.thing}",
            f"{self._one(*USE)} the {step.thing} while you hold what you carry",
        )

    def joins(self, step: Step) -> bool:
        """Whether the step may share a sentence with the one before it."""
        if self.last is None or self.last.thing != step.thing:
            return False
        pair = (self.last.verb, step.verb)
        return pair == ("look", "take") or (pair[0] in CHANGES and pair[1] == "put")

    def padded(self, sentences: Sequence[str]) -> list[str]:
        """With sentences in between that ask for nothing."""
        rng = self._rng or random.Random(0)
        more = list(sentences)
        for text in rng.sample(PADDING, rng.randint(1, 3)):
            more.insert(rng.randint(0, len(more)), text)
        return more

    def _look(self, step: Step) -> str:
        wanted = f"{self._one(*ANOTHER)} {step.thing}" if step.again else article(step.thing)
        look = self._one(*LOOK)
        if not step.search:
            return self._one(f"{look} {wanted}", f"{look} {wanted} somewhere in the room")
        kinds = [all_of(kind) for kind in step.search]
        where = [f"{in_or_on(kind)} {all_of(kind)}" for kind in step.search]
        closed = self._closed(step.search)
        first, *then = where
        more = "".join(f", then {place}" for place in then)
        return self._one(
            f"{look} {wanted}, first {first}{more}{closed}",
            f"{look} {wanted} {_and(where)}{closed}",
            f"{look} {wanted}, starting {first}{more}{closed}",
            f"check {_and(kinds)} for {wanted}{closed}",
            f"go through {', then '.join(kinds)} and {look} {wanted}{closed}",
            f"{look} {wanted} {first}"
            + (f", and if need be {_and(then)}" if then else "")
            + closed,
        )

    def _closed(self, search: Sequence[str]) -> str:
        """That closed places are to be opened, which goes without saying in a search."""
        if openable().isdisjoint(search):
            return ""
        several = len(search) > 1 or search[0] in SEVERAL
        those = "those that are closed" if several else "it if it is closed"
        return self._one(f"; open {those}", "", " and open what is closed")

    def _sweep(self, step: Step) -> str:
        other = f"{self._one(*ANOTHER)} {step.thing}"
        where = f" to {_and([all_of(kind) for kind in step.search])}" if step.search else ""
        return self._one(
            f"go back{where} for {other}",
            f"return{where} for {other} if you saw one, else search on where you stopped",
            f"go back{where} and look for {other} where you left off",
        )

    def _change(self, step: Step) -> str:
        verb, device, it = self._one(*CHANGE[step.verb]), CHANGES[step.verb], self._it(step)
        go = self._one(*GO)
        return self._one(
            f"{go} the {device} and {verb} {it} with it",
            f"{verb} {it} with the {device}",
            f"{verb} {it} in the {device}",
            f"carry {it} to the {device} and {verb} it there",
        )

    def _put(self, step: Step) -> str:
        kind, it, put, into = step.place, self._it(step), self._one(*PUT), in_or_on(step.place)
        there = article(kind) if kind in SEVERAL else f"the {kind}"
        if step.opens:
            go = self._one(*GO)
            return self._one(
                f"{go} {there}, open it if it is closed, and {put} {it} {into} it",
                f"open {there} and {put} {it} {into} it",
                f"{go} {there}, open it and {put} {it} {into} it",
                f"make sure to open {there} first, then {put} {it} {into} it",
            )
        return self._one(
            f"{self._one(*GO)} {there} and {put} {it} {into} it",
            f"{put} {it} {into} {there}",
            f"carry {it} to {there} and {put} it {into} it",
            f"bring {it} to {there} and {put} it there",
        )

    def _it(self, step: Step) -> str:
        named = f"the {step.thing}"
        same = self.last is not None and self.last.thing == step.thing
        return self._one(named, named, "it") if same else named

    def _one(self, *choices: str) -> str:
        return self._rng.choice(choices) if self._rng else choices[0]


def _and(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
