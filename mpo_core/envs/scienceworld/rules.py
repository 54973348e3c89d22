"""Rules for ScienceWorld: the expert's deeds by room, each once and in general terms."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mpo_core.abstraction.wording import kind, listed, read

MOST_PHRASES = 4
"""Phrases of one step."""

_SCIENCE = {
    "go": re.compile(r"(?:go|teleport) to (?:the )?(?P<thing>.+)"),
    "focus": re.compile(r"focus on (?P<thing>.+)"),
    "take": re.compile(r"pick up (?P<thing>.+)"),
    "move": re.compile(r"move (?P<thing>.+) to (?P<to>.+)"),
    "pour": re.compile(r"(?:pour|dump|dunk) (?P<thing>.+) (?:into|in) (?P<to>.+)"),
    "mix": re.compile(r"mix (?P<thing>.+)"),
    "activate": re.compile(r"activate (?P<thing>.+)"),
    "connect": re.compile(r"connect (?P<thing>.+) to (?P<to>.+)"),
    "use": re.compile(r"use (?P<thing>.+?) on (?P<to>.+)"),
    "read": re.compile(r"read (?P<thing>.+)"),
    "close": re.compile(r"close (?P<thing>door) to .+"),
    # The expert walks through doors; whoever follows the plan teleports.
    "open": re.compile(r"open (?!door to )(?P<thing>.+)"),
    "watch": re.compile(r"wait\d*|examine .+"),
}
_WORDS = {
    "focus": "focus on {things}",
    "find": "{things}",
    "take": "pick up {things}",
    "move": "move {things} to {to}",
    "heat": "move {things} to {to}|activate it",
    "freeze": "move {things} to {to}|wait until it is frozen",
    "fill": "fill {things} with water at the sink",
    "pour": "pour {things} into {to}",
    "mix": "mix what is in {things}",
    "activate": "activate {things}",
    "connect": "connect {things} in a circuit with wires",
    "use": "use {things} on {to}",
    "read": "read {things}",
    "close": "close the doors",
    "open": "open {things}",
    "watch": "{things}",
}
# What a task seeks, in its own words: what the expert found is one instance of it.
_SOUGHT = (
    (re.compile(r"find a\(n\) ([^.]+)\."), "look around for any {}|focus on it"),
    (re.compile(r"find the (animal [^.,]*life span)"), "look around for the {}|focus on it"),
    (
        re.compile(r"life span, then the (shortest life span)"),
        "look around for the animal with the {}|focus on it",
    ),
    (
        re.compile(r"life stages of the ([^,.]+)"),
        "look around for the life stages of the {}|focus on each, from the earliest to the latest",
    ),
)
_SUBSTANCE = re.compile(
    r"(?:boil|melt|freeze|change the state of matter of|the melting point of) ([^.,]+)[.,]"
)
_UNKNOWN = re.compile(r"unknown substance [A-Z]\b")
# Which way the things go that are sorted by a result, only the result says.
_SORTED = "the box that the task names for the result"
# Task -> what is waited for. A change of state is waited for at the very end.
_AT_THE_END = (
    (re.compile(r"to boil "), "use the thermometer on {} and wait until it boils or burns"),
    (re.compile(r"to melt "), "use the thermometer on {} and wait until it melts"),
    (re.compile(r"to freeze "), "use the thermometer on {} and wait until it freezes"),
    (re.compile(r"change the state"), "use the thermometer on {} and wait until its state changes"),
)
_ON_THE_WAY = (
    (re.compile(r"melting point"), "use the thermometer on {} until it has melted"),
    (re.compile(r"conductive"), "wait and look whether the circuit is powered"),
    (re.compile(r"crosspollinated"), "wait until there is fruit, watering again when it is dry"),
    (re.compile(r"grow a "), "wait until the plant reproduces, watering again when it is dry"),
    (re.compile(r"life stages"), "wait for the stages that are not there yet"),
)
_LEADING = {
    ("find", "take"),
    ("find", "move"),
    ("fill", "pour"),
    ("use", "take"),
    ("close", "open"),
}
_MASS = {"the water", "the soil"}
_ROOM = re.compile(r"(?:room|location) is called the ([a-z ]+)\.")


@dataclass
class _Deed:
    verb: str
    things: list[str]
    to: str = ""
    room: str = ""
    targets: set[str] = field(default_factory=set)
    """The full names of what `to` is the kind of."""

    phase: int = 0
    """How often something was focused on before."""

    @property
    def key(self) -> tuple:
        """Equal for deeds of which a plan tells one only."""
        to = "" if self.verb in ("heat", "use") else self.to
        # What is mixed after a focus makes something new.
        phase = self.phase if self.verb in ("pour", "mix") else 0
        return self.verb, *self.things, to, phase

    @property
    def phrases(self) -> list[str]:
        things, to = self.things, self.to
        if len(self.targets) > 1:
            things = [thing if thing in _MASS else f"{thing}s" for thing in things]
            to = f"{to}s"
        if self.verb == "take" and things == ["it"]:
            return ["pick it up"]
        return _WORDS[self.verb].format(things=listed(things), to=to).split("|")


def science_steps(task: str, actions: Sequence[str], beginning: str) -> list[str]:
    """Steps of a plan, each without its number and full stop."""
    deeds, end = _waiting(task, _once(_patterned(_deeds(task, actions, beginning))))
    return [*_phrased(_joined(deeds)), *([end] if end and deeds else [])]


def _waiting(task: str, deeds: list[_Deed]) -> tuple[list[_Deed], str]:
    """The deeds with at most one of waiting, for what the task waits for; and the task's end."""

    def waits_for(table: Iterable[tuple[re.Pattern, str]]) -> str:
        words = next((words for sign, words in table if sign.search(task)), "")
        return words.format(_substance(task))

    end, on_the_way = waits_for(_AT_THE_END), waits_for(_ON_THE_WAY)
    if "thermometer" in end + on_the_way:
        deeds = [deed for deed in deeds if deed.verb != "use"]
    last = max((k for k, deed in enumerate(deeds) if deed.verb == "watch"), default=-1)
    kept = [
        replace(deed, things=[on_the_way]) if deed.verb == "watch" else deed
        for k, deed in enumerate(deeds)
        if deed.verb != "watch" or (k == last and on_the_way)
    ]
    return kept, end


def _substance(task: str) -> str:
    """What changes its state in a task, as the task calls it."""
    named = _SUBSTANCE.search(task)
    return f"the {kind(named[1])}" if named and kind(named[1]) else "it"


def _deeds(task: str, actions: Sequence[str], beginning: str) -> list[_Deed]:
    """The actions that a plan may tell of, with general names and the room of each."""
    sought = [words.format(kind(m[1])) for sign, words in _SOUGHT if (m := sign.search(task))]
    any_will_do = bool(sought) and " any " in sought[0]
    unknown = _UNKNOWN.search(task)
    room = kind((_ROOM.findall(beginning) or [""])[-1])
    filled: set[str] = set()
    phase = 0
    deeds: list[_Deed] = []

    def called(name: str) -> str:
        """A thing as the plan calls it."""
        thing = _thing(name)
        if any_will_do:
            return "its flower pot" if "flower pot" in thing else "it"
        if thing == "substance":
            return _substance(task)
        if unknown and thing.startswith("unknown substance"):
            thing = unknown[0]
        if thing.endswith(" light bulb") and thing not in task:
            thing = "light bulb"
        return f"the {thing}"

    for action in actions:
        verb, said = read(_SCIENCE, action)
        name, to = said.get("thing") or "", said.get("to") or ""
        things, target = [called(name)], f"the {_thing(to)}"
        if verb == "go":
            room = kind(name) or room
            continue
        if not verb or (verb != "watch" and not _thing(name)) or (to and not _thing(to)):
            continue
        if verb == "focus" and sought:
            verb, things = "find", [sought[0]]
            sought = sought[1:] or sought
        elif verb == "pour":
            if name == to:
                continue
            things = [_content(name, filled) or called(name)]
        elif verb == "move" and target == "the sink":
            verb, to = "fill", ""
            filled.add(_thing(name))
        elif verb == "connect":
            things = [n for n in (called(name), called(to)) if not n.endswith(" wire")]
            to = ""
            if not things:
                continue
        elif verb == "use":
            target = called(to)
        if target.endswith(" box") and "If " in task:
            target = _SORTED
        if verb == "focus" and things[0].endswith(" box") and "If " in task:
            things = [_SORTED]
        phase += verb in ("focus", "find")
        one = {_single(to)} if to and verb in ("move", "pour") else set()
        deeds.append(_Deed(verb, things, target if to else "", room, one, phase))
    return deeds


def _thing(name: str) -> str:
    """The kind of a thing: not where it is, what is in it, or which part of it is meant."""
    name = re.sub(r"^(?:anode|cathode) in ", "", name)
    return kind(re.sub(r" (?:anode|cathode|terminal)\b.*", "", _single(name)))


def _single(name: str) -> str:
    """One thing of its kind, whatever is in it by now."""
    return re.split(r" (?:in|on|containing) ", name)[0]


def _content(name: str, filled: set[str]) -> str:
    """What is poured out of a container; "" where it is not known."""
    if _thing(name) in filled:
        return "the water"
    _, _, content = name.partition(" containing ")
    return f"the {_thing(content)}" if _thing(content) else ""


def _patterned(deeds: list[_Deed]) -> list[_Deed]:
    """Neighbouring deeds that are one: opening and searching, moving and switching on."""
    kept: list[_Deed] = []
    for k, deed in enumerate(deeds):
        before = kept[-1] if kept else None
        if before and _needless(before, deed, deeds[k:]):
            kept.pop()
        if before and before.verb == "move":
            if deed.verb == "activate" and before.to == deed.things[0]:
                kept[-1] = replace(before, verb="heat")
                continue
            # At the end, the task says what is waited for.
            goes_on = any(later.verb == "move" for later in deeds[k:])
            if deed.verb == "watch" and before.to == "the freezer" and goes_on:
                kept[-1] = replace(before, verb="freeze")
                continue
        if deed.verb != "activate" or deed.things != ["the sink"]:
            kept.append(deed)
    return kept


def _needless(before: _Deed, deed: _Deed, rest: list[_Deed]) -> bool:
    """Whether `before` need not be told, seeing what follows it."""
    if before.verb == "open":  # What was in it was not what was wanted.
        return deed.verb in ("open", "pour", "mix") or deed.room != before.room
    # What is moved at once need not be picked up, but for what is picked up and carried on later.
    again = any(later.verb == "take" and later.things == before.things for later in rest)
    return (
        before.verb == "take"
        and deed.verb in ("move", "pour")
        and (before.things, before.room) == (deed.things, deed.room)
        and not again
    )


def _once(deeds: list[_Deed]) -> list[_Deed]:
    """Each deed once. What is done again elsewhere was in vain the first time."""
    kept: dict[tuple, _Deed] = {}
    for k, deed in enumerate(deeds):
        before = kept.get(deed.key)
        if deed.verb == "watch":
            kept[("watch", k)] = deed
        elif before is None:
            kept[deed.key] = deed
        else:
            if deed.verb in ("heat", "fill") and deed.room != before.room:
                del kept[deed.key]
                kept[deed.key] = deed
                continue
            before.targets |= deed.targets
            if deed.verb == "move":
                kept[deed.key] = replace(kept.pop(deed.key), room=deed.room)
    return list(kept.values())


def _joined(deeds: list[_Deed]) -> list[_Deed]:
    """Neighbours that differ only in the thing, as one."""
    joined: list[_Deed] = []
    for deed in deeds:
        before = joined[-1] if joined else None
        if (
            before
            and deed.verb in ("take", "move", "pour", "connect")
            and (deed.verb, deed.to, deed.room) == (before.verb, before.to, before.room)
        ):
            before.things = list(dict.fromkeys(before.things + deed.things))
            before.targets |= deed.targets
        else:
            joined.append(replace(deed, things=list(deed.things)))
    return joined


def _phrased(deeds: list[_Deed]) -> list[str]:
    """The deeds as steps: what leads straight to the next deed stands in one step with it."""
    steps: list[list[str]] = []
    room, before = "", None
    for deed in deeds:
        phrases = deed.phrases
        if deed.room != room and deed.verb != "watch":
            room = deed.room
            steps.append([f"teleport to {room if room == 'outside' else f'the {room}'}"])
        elif before and _leads(before, deed) and len(steps[-1]) < MOST_PHRASES:
            [last] = before.things[-1:]
            if last not in ("it", _SORTED):
                phrases = [re.sub(rf"\b{re.escape(last)}\b", "it", phrase) for phrase in phrases]
        else:
            steps.append([])
        if deed.verb == "find":
            steps[-1] += phrases[:1]
            steps.append(phrases[1:])
        else:
            steps[-1] += phrases
        before = deed
    return [listed(phrases) for phrases in steps]


def _leads(before: _Deed, deed: _Deed) -> bool:
    """Whether two deeds in one room are told in one step."""
    getting = {"take", "open", "read"}
    return (
        before.verb == "open"
        or {before.verb, deed.verb} <= getting
        or (before.verb == "take" and before.things == deed.things)
        or (before.verb, deed.verb) in _LEADING
    )
