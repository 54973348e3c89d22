"""The planner's library, which holds a game's state: one copy in memory for each game in play.

The library keeps its game in global variables, so each game needs a copy of its own. Yet it keeps
every state that it has reached under a number, so any number of sessions of one game share a copy:
each enters its own state before it asks or acts.

Loading another game frees the last one's memory; unloading a library would not free all of it, so
libraries are used again.
"""

import ctypes
import struct
import tempfile
from functools import cache
from pathlib import Path

import fast_downward
import fast_downward.interface

START = 0
"""The number of a game's first state."""


class Library:
    """A loaded copy of the library, with one game at a time."""

    def __init__(self) -> None:
        self._lib = _load()
        self._state = START
        self.states = 0
        """States reached since the game was loaded: what its memory grows with."""

    def load(self, sas: str) -> None:
        self._lib.load_sas(sas.encode())
        self._state, self.states = START, 0

    def atoms(self) -> list[bytes]:
        """What is true, and what is not, in the game's first state."""
        self._enter(START)
        atoms = (fast_downward.Atom * self._lib.get_state_size())()
        self._lib.get_state(atoms)
        return [_name(atom) for atom in atoms]

    def operators(self, state: int) -> "ctypes.Array[fast_downward.Operator]":
        """What can be done in a state."""
        self._enter(state)
        operators = (fast_downward.Operator * self._lib.get_applicable_operators_count())()
        self._lib.get_applicable_operators(operators)
        return operators

    def apply(self, state: int, operator: int, effects: int) -> tuple[int, list[bytes]]:
        """Act in a state: the number of the next one, and the atoms that were made true or not."""
        self._enter(state)
        atoms = (fast_downward.Atom * effects)()
        self._lib.apply_operator(operator, atoms)
        self._state = self._lib.get_state_id()
        self.states += 1
        return self._state, [_name(atom) for atom in atoms]

    def won(self, state: int) -> bool:
        self._enter(state)
        return self._lib.check_goal()

    def _enter(self, state: int) -> None:
        if state != self._state:
            self._lib.set_state_id(state)
            self._state = state


def _name(atom: fast_downward.Atom) -> bytes:
    return atom._name


def _load() -> ctypes.CDLL:
    """Load a copy of what the planner's library needs of its file, a thirtieth of it.

    The rest is for debuggers, and every copy is a file of its own, written out and read in again.
    """
    interface = fast_downward.interface
    whole = Path(interface.DOWNWARD_LIB_PATH)
    with tempfile.TemporaryDirectory(prefix="alfworld-") as folder:
        small = Path(folder) / whole.name
        small.write_bytes(_loaded_part(whole))
        interface.DOWNWARD_LIB_PATH = str(small)
        try:
            return fast_downward.load_lib()
        finally:
            interface.DOWNWARD_LIB_PATH = str(whole)


@cache
def _loaded_part(library: Path) -> bytes:
    """The file up to the end of its last segment; all of it where it is no 64-bit ELF file."""
    content = library.read_bytes()
    if content[:5] != b"\x7fELF\x02":
        return content
    [table] = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    end = 0
    for entry in range(table, table + size * count, size):
        offset, _, _, length = struct.unpack_from("<QQQQ", content, entry + 8)
        end = max(end, offset + length)
    return content[:end]
