"""The text of a game: TextWorld's grammar, parsed once and spoken by TextWorld's rules.

TextWorld parses a template each time that it speaks it, and copies everything that a symbol may
look at. Here TextWorld's own parsers read a template or a query once a process, and a grammar once
for all games that differ only in the line of the task. A text is then put together without copies:
no symbol changes what another one sees.

What a query finds is listed in the order of the objects' ids, as TextWorld sorts it, so a text is
the same whatever the process's hash seed.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import CodeType

from textworld.envs.pddl import logic as pddl_logic
from textworld.envs.pddl import textgen
from textworld.generator.game import EntityInfo
from textworld.logic import Rule, TypeHierarchy

Argument = tuple[str, str]
"""A name and its type: of an object of the game, or of what stands for one in a query."""
Arguments = tuple[Argument, ...]
Facts = dict[str, dict[tuple[str, ...], set[Arguments] | dict[Arguments, None]]]
"""By predicate and by its arguments' types: the arguments of which it is true. A dictionary is in
their order, a set in none."""
Mapped = Mapping[Argument, Argument]
"""What stands for which object."""

TASK = re.compile(r'"(Your task is to: (?:[^"\\\n]|\\.)*)"')
NO_TASK = "Your task is to: nothing at all."


WORDS = {"name", "id", "type", "definite", "indefinite", "adj", "noun", "desc"}
"""What an expression may ask of an object."""
HARMLESS = (
    ast.Expression,
    ast.BinOp,
    ast.Add,
    ast.BoolOp,
    ast.Or,
    ast.And,
    ast.Attribute,
    ast.Name,
    ast.Load,
    ast.Constant,
)


@dataclass(frozen=True)
class Production:
    """One way to speak a symbol; the first whose condition holds is taken."""

    condition: str
    symbols: Sequence[textgen.Symbol]


@dataclass(frozen=True)
class Grammar:
    """What a game's commands and answers are made of."""

    actions: Mapping[str, pddl_logic.Action]
    """By lower-case name; with the template of its command and of the answer to it."""
    rules: Mapping[str, Sequence[Production]]

    def predicates(self, template: str) -> set[str]:
        """The predicates on which a template's text may depend."""
        found: set[str] = set()
        seen: set[str] = set()

        def look(symbols: Iterable[textgen.Symbol]) -> None:
            for symbol in symbols:
                match symbol:
                    case textgen.ListSymbol():
                        look([symbol.symbol])
                    case textgen.ConditionalSymbol():
                        note(symbol.given)
                        look([symbol.expression])
                    case textgen.NonterminalSymbol() if symbol.symbol not in seen:
                        seen.add(symbol.symbol)
                        for production in self.rules.get(symbol.symbol, ()):
                            note(production.condition)
                            look(production.symbols)

        def note(query: str | None) -> None:
            if query:
                found.update(name.removeprefix("not_") for name, _ in conditions(query))

        look(parse(template))
        return found


class Narrator:
    """Speaks for one game. Knows its objects' names, but not its state."""

    def __init__(
        self, grammar: Grammar, types: TypeHierarchy, entities: Mapping[str, EntityInfo]
    ) -> None:
        self._rules = grammar.rules
        self._types = types
        self._entities = entities
        self._ranks: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}

    def tell(self, template: str, facts: Facts, mapped: Mapped) -> str:
        """The text of a template in a state of the game."""
        return self._join(parse(template), facts, mapped)

    def _join(self, symbols: Iterable[textgen.Symbol], facts: Facts, mapped: Mapped) -> str:
        return "".join(self._symbol(symbol, facts, mapped) for symbol in symbols)

    def _symbol(self, symbol: textgen.Symbol, facts: Facts, mapped: Mapped) -> str:
        match symbol:
            case textgen.TerminalSymbol():
                return symbol.symbol
            case textgen.NonterminalSymbol():
                return self._nonterminal(symbol.symbol, facts, mapped)
            case textgen.EvalSymbol():
                names = {name: self._entities[thing] for (name, _), (thing, _) in mapped.items()}
                return str(eval(compiled(symbol.expression), {"__builtins__": {}}, names))
            case textgen.ConditionalSymbol():
                return "".join(self._instances(symbol, facts, mapped))
            case textgen.ListSymbol():
                return self._list(self._instances(symbol.symbol, facts, mapped), facts, mapped)
        raise TypeError(type(symbol))

    def _nonterminal(self, name: str, facts: Facts, mapped: Mapped) -> str:
        for rule in self._rules[name]:
            if not rule.condition or self._holds(rule.condition, facts, mapped):
                return self._join(rule.symbols, facts, mapped)
        raise KeyError(name)

    def _instances(
        self, symbol: textgen.ConditionalSymbol, facts: Facts, mapped: Mapped
    ) -> list[str]:
        if not symbol.given:
            return [self._symbol(symbol.expression, facts, mapped)]
        found = self._matches(conditions(symbol.given), facts, mapped)
        return [self._symbol(symbol.expression, facts, bound) for bound in found]

    def _list(self, items: list[str], facts: Facts, mapped: Mapped) -> str:
        if not items:
            return self._nonterminal("list_empty", facts, mapped)
        *first, last = items
        if not first:
            return last
        between = self._nonterminal("list_separator", facts, mapped) if first[1:] else ""
        return between.join(first) + self._nonterminal("list_last_separator", facts, mapped) + last

    def _holds(self, query: str, facts: Facts, mapped: Mapped) -> bool:
        return any(True for _ in self._matches(conditions(query), facts, mapped))

    def _matches(
        self, wanted: tuple[tuple[str, Arguments], ...], facts: Facts, mapped: Mapped
    ) -> Iterator[Mapped]:
        """Every way to make all conditions true; no object stands for two names."""
        if not wanted:
            yield mapped
            return
        (predicate, parameters), *rest = wanted
        for arguments in self._candidates(predicate, parameters, facts, mapped):
            bound = dict(mapped)
            for parameter, argument in zip(parameters, arguments, strict=True):
                if parameter not in bound:
                    if argument in bound.values():
                        break
                    bound[parameter] = argument
                elif bound[parameter] != argument:
                    break
            else:
                yield from self._matches(tuple(rest), facts, bound)

    def _candidates(
        self, predicate: str, parameters: Arguments, facts: Facts, mapped: Mapped
    ) -> Iterator[Arguments]:
        """The facts of a predicate that agree with what is known, in TextWorld's order."""
        by_types = facts.get(predicate)
        if not by_types:
            return
        known = [(i, mapped[p]) for i, p in enumerate(parameters) if p in mapped]
        rank = self._rank(tuple(kind for _, kind in parameters))
        for types in sorted((t for t in by_types if t in rank), key=rank.__getitem__):
            group = by_types[types]
            if len(known) == len(parameters):
                arguments = tuple(argument for _, argument in known)
                if arguments in group:
                    yield arguments
                continue
            found = [args for args in group if all(args[i] == thing for i, thing in known)]
            yield from found if isinstance(group, dict) else sorted(found)

    def _rank(self, types: tuple[str, ...]) -> dict[tuple[str, ...], int]:
        """The types of arguments that a predicate takes, in the order in which they are tried."""
        if types not in self._ranks:
            kinds = self._types.multi_subtypes([self._types.get(name) for name in types])
            order = enumerate(tuple(kind.name for kind in combination) for combination in kinds)
            # Where a combination comes twice, its facts are found twice: not in these games.
            self._ranks[types] = {names: place for place, names in order}
        return self._ranks[types]


def parse_grammar(text: str) -> Grammar:
    """A game's grammar.

    Raises:
        Exception: whatever TextWorld's parser makes of text that is no grammar.
    """
    lines = TASK.findall(text)
    if len(lines) != 1 or NO_TASK in text:
        return _parse_grammar(text)
    grammar = _parse_grammar(TASK.sub(lambda _: f'"{NO_TASK}"', text))
    nothing, task = parse(NO_TASK), parse(json.loads(f'"{lines[0]}"'))
    rules = {
        name: [
            replace(rule, symbols=task) if _same(rule.symbols, nothing) else rule
            for rule in productions
        ]
        for name, productions in grammar.rules.items()
    }
    return replace(grammar, rules=rules)


def _same(some: Sequence[textgen.Symbol], others: Sequence[textgen.Symbol]) -> bool:
    return list(map(repr, some)) == list(map(repr, others))


@lru_cache(4)
def _parse_grammar(text: str) -> Grammar:
    logic = pddl_logic.GameLogic(domain="", grammar=text)
    rules = {
        name: [Production(rule.condition, rule.rhs) for rule in productions]
        for name, productions in logic.grammar._rules.items()
    }
    for productions in rules.values():
        for production in productions:
            check(production.symbols)
    for action in logic.actions.values():
        check(parse(action.template))
    return Grammar(logic.actions, rules)


def check(symbols: Iterable[textgen.Symbol]) -> None:
    """Raises ValueError where an expression does more than put words together."""
    for symbol in symbols:
        match symbol:
            case textgen.EvalSymbol():
                compiled(symbol.expression)
            case textgen.ListSymbol():
                check([symbol.symbol])
            case textgen.ConditionalSymbol():
                check([symbol.expression])


@lru_cache(256)
def parse(template: str) -> list[textgen.Symbol]:
    return textgen._parse_and_convert(template, rule_name="symbols")


@lru_cache(256)
def conditions(query: str) -> tuple[tuple[str, Arguments], ...]:
    """What a query asks, in order: a predicate and its parameters."""
    rule = Rule.parse_conjunctive_query(query)
    return tuple(
        (wanted.name, tuple((p.name, p.type) for p in wanted.parameters))
        for wanted in rule.preconditions
    )


@lru_cache(256)
def compiled(expression: str) -> CodeType:
    """An expression of a grammar, such as `o.indefinite + ' ' + o.name`.

    Raises:
        ValueError: it does more than put an object's words together. Games come from elsewhere.
    """
    tree = ast.parse(expression.strip(), mode="eval")
    for node in ast.walk(tree):
        if not isinstance(node, HARMLESS) or (
            isinstance(node, ast.Attribute) and node.attr not in WORDS
        ):
            raise ValueError(f"an expression that is not allowed: {expression.strip()[:60]!r}")
    return compile(tree, "grammar", "eval")
