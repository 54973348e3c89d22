"""A loaded game: what all its sessions share, and TextWorld's rules of what can be said and done.

The planner's library decides what can be done in a state and what comes of it; the facts, from
which the text is told, are kept beside it by the effects that it reports, as TextWorld does. (The
two can differ: going to where one is takes away the fact that one is there, but not the state.)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alfworld.agents.utils.misc import Demangler
from textworld.generator.game import EntityInfo
from textworld.logic import Proposition, Type, TypeHierarchy, Variable

from mpo_core.envs.alfworld.grammar import Argument, Arguments, Facts, Narrator, parse_grammar
from mpo_core.envs.alfworld.library import START, Library
from mpo_core.envs.alfworld.translation import translation
from mpo_core.errors import InputError


class GameError(InputError):
    """A file is no game that can be played."""


@dataclass(frozen=True)
class Operator:
    """An action on certain objects."""

    number: int
    name: str
    effects: int
    feedback: str
    template: str
    mapped: dict[Argument, Argument]
    command: str | None
    """None where it depends on the state."""


class Game:
    """A game, loaded into a copy of the planner's library, and all that its sessions share."""

    def __init__(
        self, data: Mapping[str, Any], translations: Path | None, library: Library
    ) -> None:
        self.players = 0
        self.library = library
        found = translation(data["pddl_domain"], data["pddl_problem"], translations)
        self._objects, self._parameters = found.objects, found.actions
        self._fluents = {*found.fluents, *(f"not_{name}" for name in found.fluents)}
        grammar = parse_grammar(data["grammar"])
        self._actions = {name: grammar.actions[name] for name in found.actions}
        self._fixed = {
            action.template
            for action in self._actions.values()
            if not grammar.predicates(action.template) & self._fluents
        }
        self._operators: dict[int, Operator] = {}
        self._effects: dict[bytes, tuple[str, str, tuple[str, ...], Arguments]] = {}
        library.load(found.sas)
        # Of a task that cannot be solved, the translator leaves nothing to do.
        if not len(library.operators(START)):
            raise GameError("the task cannot be solved from the start; remove the game")
        self._first_facts = self._all_facts(found.facts)
        entities = _entities(self._first_facts)
        self._names = {thing: info.name for thing, info in entities.items()}
        self.narrator = Narrator(grammar, _hierarchy(found.types), entities)
        facts = self.first_facts()
        commands = self.commands(START, facts)
        self.start = self.narrator.tell("#intro#", facts, {}), commands, self.library.won(START)

    def first_facts(self) -> Facts:
        """A session's own copy of what is true at the start; what never changes is shared."""
        return {
            name: {types: set(group) for types, group in by_types.items()}
            if name in self._fluents
            else by_types
            for name, by_types in self._first_facts.items()
        }

    def propositions(self, facts: Facts) -> list[Proposition]:
        """What is true by the facts, of things named as in the commands, in a fixed order."""
        true = (
            Proposition(
                predicate, [Variable(self._names[thing], kind) for thing, kind in arguments]
            )
            for predicate, by_types in facts.items()
            if not predicate.startswith("not_")
            for group in by_types.values()
            for arguments in group
        )
        return sorted(true, key=lambda fact: (fact.name, fact.names))

    def change(self, facts: Facts, effect: bytes) -> None:
        """Make true what the library says became true, and not what it denies."""
        if effect not in self._effects:
            self._effects[effect] = self._proposition(effect)
        name, opposite, types, arguments = self._effects[effect]
        _changing(facts, opposite, types).discard(arguments)
        _changing(facts, name, types).add(arguments)

    def commands(self, state: int, facts: Facts) -> dict[str, Operator]:
        """What can be done in a state, by command; of two that read the same, the first."""
        found: dict[str, Operator] = {}
        for offered in self.library.operators(state):
            operator = self._operators.get(offered.id) or self._operator(offered)
            command = operator.command or self._command(operator, facts)
            found.setdefault(command, operator)
        return found

    def _operator(self, offered: Any) -> Operator:
        name, *arguments = offered.name.split()
        parameters, action = self._parameters[name], self._actions[name]
        operator = Operator(
            number=offered.id,
            name=offered.name,
            effects=offered.nb_effect_atoms,
            feedback=action.feedback_rule,
            template=action.template,
            mapped={
                (parameter, kind): (argument, kind)
                for (parameter, kind), argument in zip(parameters, arguments, strict=False)
            },
            command=None,
        )
        if action.template in self._fixed:
            operator = replace(operator, command=self._command(operator, self._first_facts))
        self._operators[offered.id] = operator
        return operator

    def _command(self, operator: Operator, facts: Facts) -> str:
        text = self.narrator.tell(operator.template, facts, operator.mapped)
        return text.format(**self._names)

    def _all_facts(self, first: Iterable[Sequence[str]]) -> Facts:
        """What is true at the start, by the problem and by the library."""
        facts: dict[str, dict[tuple[str, ...], set[Arguments]]] = {}
        for name, *things in first:
            _, _, types, arguments = self._fact(name, things)
            facts.setdefault(name, {}).setdefault(types, set()).add(arguments)
        for atom in self.library.atoms():
            name, _, types, arguments = self._proposition(atom)
            if not name.startswith("not_"):
                facts.setdefault(name, {}).setdefault(types, set()).add(arguments)
        found: Facts = {}
        for name, by_types in facts.items():
            changes = name in self._fluents
            found[name] = {
                types: group if changes else dict.fromkeys(sorted(group))
                for types, group in by_types.items()
            }
        return found

    def _proposition(self, atom: bytes) -> tuple[str, str, tuple[str, ...], Arguments]:
        """A fact from the library, such as `NegatedAtom opened(fridge)`, and its opposite."""
        sign, _, rest = atom.decode("cp1252").partition(" ")
        predicate, _, things = rest.removesuffix(")").partition("(")
        name, opposite, types, arguments = self._fact(predicate, filter(None, things.split(", ")))
        if sign == "NegatedAtom":
            name, opposite = opposite, name
        return name, opposite, types, arguments

    def _fact(
        self, name: str, things: Iterable[str]
    ) -> tuple[str, str, tuple[str, ...], Arguments]:
        arguments = tuple((thing, self._objects[thing]) for thing in things)
        return name, f"not_{name}", tuple(kind for _, kind in arguments), arguments


def _changing(facts: Facts, name: str, types: tuple[str, ...]) -> set[Arguments]:
    """Of what a fact that changes is true now."""
    group = facts.setdefault(name, {}).setdefault(types, set())
    assert isinstance(group, set), f"{name} changes, and is no fluent"
    return group


def _entities(facts: Facts) -> dict[str, EntityInfo]:
    """The objects of the game, named as the stock names them."""
    things = {
        thing: kind
        for by_types in facts.values()
        for group in by_types.values()
        for arguments in group
        for thing, kind in arguments
    }
    entities = {thing: EntityInfo(thing, kind) for thing, kind in things.items()}
    naming = Demangler(game_infos=entities)
    for info in entities.values():
        info.name = naming.demangle_alfred_name(info.id)
        info.definite, info.indefinite = "the", "a"
    return entities


def _hierarchy(types: Sequence[Any]) -> TypeHierarchy:
    hierarchy = TypeHierarchy()
    # PDDL's root of all types has the name that ALFWorld gives to one of its own.
    for name, parents in dict(reversed(types)).items():
        hierarchy.add(Type(name, parents))
    return hierarchy
