"""The games, as the stock `AlfredTWEnv` plays them: same text, same commands, in less time.

What the stock does over and over is done once: translations are kept on disk (`translation.py`),
parsed text in the process (`grammar.py`), and a game's operators, names and first state with the
game. The planner's library (`library.py`) still decides what can be done and what comes of it.

Invariants:
- A process plays all sessions of a game in one copy of the library, each in its own state there.
- A game and its copy of the library stay as long as a session plays it; of the others the last
  few stay.
- Nothing depends on the process's hash seed: the translation does not, what the grammar lists is
  sorted, and so are the admissible commands. The stock's text does not depend on it either.

One thread at a time: the translator swaps `sys.stdout`, and the library keeps global state.
"""

import json
from collections import OrderedDict
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

KEYS = ("pddl_domain", "grammar", "pddl_problem")
NOTHING_HAPPENS = "Nothing happens."
IDLE_GAMES = 8
"""Games that stay loaded though nobody plays them: some 5 MB each."""
MOST_STATES = 20_000
"""States that a copy of the library reaches before its game is loaded anew, when nobody plays."""


class GameError(InputError):
    """A file is no game that can be played."""


@dataclass(frozen=True)
class State:
    """What a player sees."""

    observation: str
    admissible_commands: list[str]
    won: bool


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


class Session:
    """Plays one game at a time."""

    def __init__(self, translations: Path | None = None) -> None:
        self._translations = translations
        self._game: Game | None = None

    def load(self, game: Path) -> State:
        """Load a game and start it.

        Raises:
            GameError: the file is no game that can be played.
        """
        self.close()
        self._game = _open(game, self._translations)
        self._state = START
        self._facts = self._game.first_facts()
        observation, self._commands, won = self._game.start
        return State(observation, sorted(self._commands), won)

    def step(self, command: str) -> State:
        """Do an admissible command; any other one changes nothing."""
        game = self._game
        operator = self._commands.get(command.strip())
        observation = NOTHING_HAPPENS
        if operator:
            self._state, effects = game.library.apply(
                self._state, operator.number, operator.effects
            )
            for effect in effects:
                game.change(self._facts, effect)
            observation = game.narrator.tell(operator.feedback, self._facts, operator.mapped)
            self._commands = game.commands(self._state, self._facts)
        return State(observation, sorted(self._commands), game.library.won(self._state))

    def facts(self) -> list[Proposition]:
        """What is true now, of things named as in the commands, in a fixed order."""
        names = self._game._names
        true = (
            Proposition(predicate, [Variable(names[thing], kind) for thing, kind in arguments])
            for predicate, by_types in self._facts.items()
            if not predicate.startswith("not_")
            for group in by_types.values()
            for arguments in group
        )
        return sorted(true, key=lambda fact: (fact.name, fact.names))

    def close(self) -> None:
        """Let go of the game."""
        if self._game:
            self._game.players -= 1
            self._game = None
            _tidy()


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

    def change(self, facts: Facts, effect: bytes) -> None:
        """Make true what the library says became true, and not what it denies."""
        if effect not in self._effects:
            self._effects[effect] = self._proposition(effect)
        name, opposite, types, arguments = self._effects[effect]
        facts.setdefault(opposite, {}).setdefault(types, set()).discard(arguments)
        facts.setdefault(name, {}).setdefault(types, set()).add(arguments)

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
        return {
            name: by_types
            if name in self._fluents
            else {types: dict.fromkeys(sorted(group)) for types, group in by_types.items()}
            for name, by_types in facts.items()
        }

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


_GAMES: OrderedDict[tuple, Game] = OrderedDict()
"""The games of this process, the one that was loaded last at the end."""
_LIBRARIES: list[Library] = []
"""Copies of the library that hold no game."""


def _open(path: Path, translations: Path | None) -> Game:
    try:
        status = path.stat()
        key = (str(path), status.st_ino, status.st_mtime_ns, status.st_size)
        content = b"" if key in _GAMES else path.read_bytes()
    except OSError as error:
        raise GameError(f"{path}: {error.strerror}; is this the data folder?") from error
    if key not in _GAMES:
        _GAMES[key] = _new_game(path, content, translations)
    game = _GAMES[key]
    _GAMES.move_to_end(key)
    game.players += 1
    _tidy()
    return game


def _new_game(path: Path, content: bytes, translations: Path | None) -> Game:
    try:
        data = json.loads(content)
        if not all(isinstance(data.get(key), str) for key in KEYS):
            raise ValueError(f"it needs {', '.join(KEYS)}")
    except (ValueError, AttributeError) as error:
        raise GameError(f"{path}: not a game file ({error}); remove it or get it anew") from error
    library = _LIBRARIES.pop() if _LIBRARIES else Library()
    try:
        return Game(data, translations, library)
    except BaseException as error:
        _LIBRARIES.append(library)
        if isinstance(error, GameError):
            raise GameError(f"{path}: {error}") from None
        # The parsers have no error of their own, and the translator ends the process.
        if isinstance(error, MemoryError) or not isinstance(error, Exception | SystemExit):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise GameError(
            f"{path}: the game cannot be read ({what}); remove it or get it anew"
        ) from error


def _tidy() -> None:
    """Let go of games that nobody plays, but for the last few."""
    idle = [key for key, game in _GAMES.items() if not game.players]
    old = idle[: max(0, len(idle) - IDLE_GAMES)]
    for key in idle:
        if key in old or _GAMES[key].library.states > MOST_STATES:
            _LIBRARIES.append(_GAMES.pop(key).library)


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


def _hierarchy(types: Iterable[Sequence]) -> TypeHierarchy:
    hierarchy = TypeHierarchy()
    # PDDL's root of all types has the name that ALFWorld gives to one of its own.
    for name, parents in dict(reversed(types)).items():
        hierarchy.add(Type(name, parents))
    return hierarchy
