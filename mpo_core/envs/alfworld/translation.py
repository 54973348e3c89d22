"""Games as the planner reads them (SAS), translated from PDDL once and kept on disk.

Invariants:
- A file's name is a hash of all that decides its content: domain, problem, the version of the
  translator and of this format. So a file is never stale.
- A file is written under another name and renamed when whole; a checksum tells a damaged one,
  which is made again.
- Of the processes that want a new game at the same time, one translates and the others wait for
  it, as far as the folder's file system can lock; where it cannot, each translates and all write
  the same bytes.

The planning task does not depend on the hash seed of the process; the translator's list of facts
does, and is sorted here. Only the plain translation is made, not the optimised one, which nothing
but replanning reads.
"""

import contextlib
import hashlib
import json
import logging
import sys
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from mpo_core.cache import keep
from mpo_core.errors import InputError
from mpo_core.locks import lock_file

log = logging.getLogger(__name__)

FORMAT = "1"
LOCK_WAIT_S = 30
"""Longer than a translation takes; whoever waits in vain translates for itself."""


@dataclass(frozen=True)
class Translation:
    """A planning task and what else the game needs to know of its PDDL."""

    sas: str
    types: list[list]
    """Each type, then the list of its supertypes."""
    objects: dict[str, str]
    """The type of each object."""
    actions: dict[str, list[list[str]]]
    """Each action's parameters: name without the question mark, and type."""
    fluents: list[str]
    """The predicates that an action may change."""
    facts: list[list[str]]
    """What the problem says of the start, sorted: a predicate, then the objects."""


def translation(domain: str, problem: str, folder: Path | None) -> Translation:
    """The translation of a game, from `folder` where it is known there.

    Raises:
        Exception: whatever the translator makes of text that is not PDDL.
    """
    if folder is None:
        return translate(domain, problem)
    path = folder / f"{_key(domain, problem)}.z"
    found = _read(path)
    if found is None:
        with _lock(folder / f"{path.name[:2]}.lock"):
            found = _read(path)
            if found is None:
                found = translate(domain, problem)
                _write(path, found)
    return found


def translate(domain: str, problem: str) -> Translation:
    """Translate a game (half a second). Not to be called by two threads at a time."""
    # The translator takes its options from the command line and changes it.
    arguments = sys.argv
    try:
        import fast_downward

        task, sas = fast_downward.pddl2sas(domain, problem)
    finally:
        sys.argv = arguments
    pddl = fast_downward.translate.pddl
    effects = {effect.literal.predicate for action in task.actions for effect in action.effects}
    return Translation(
        sas=sas,
        types=[[kind.name, list(kind.supertype_names)] for kind in task.types],
        objects={thing.name: thing.type_name for thing in task.objects},
        actions={
            action.name: [[p.name.strip("?"), p.type_name] for p in action.parameters]
            for action in task.actions
        },
        fluents=sorted(effects | {axiom.name for axiom in task.axioms}),
        # Functions (the costs of the plan) have no place in the game's text.
        facts=sorted(
            [fact.predicate, *fact.args]
            for fact in task.init
            if isinstance(fact, pddl.Atom) and fact.predicate != "="
        ),
    )


@cache
def _versions() -> str:
    return f"{FORMAT} {version('fast-downward-textworld')}"


def _key(domain: str, problem: str) -> str:
    content = json.dumps([_versions(), domain, problem])
    return hashlib.sha256(content.encode()).hexdigest()[:40]


def _read(path: Path) -> Translation | None:
    try:
        head, sas = zlib.decompress(path.read_bytes()).decode().split("\n", 1)
        return Translation(sas=sas, **json.loads(head))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, zlib.error) as error:
        log.warning("%s: cannot be read (%s); translating anew", path, error)
        return None


def _write(path: Path, found: Translation) -> None:
    head = asdict(found)
    sas = head.pop("sas")
    try:
        keep(path, zlib.compress(f"{json.dumps(head)}\n{sas}".encode()))
    except OSError as error:
        log.warning("%s: cannot be kept (%s); going on without", path, error.strerror)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        # A cache that cannot be written may still be read.
        with contextlib.suppress(BlockingIOError, InputError):
            held.enter_context(lock_file(path, LOCK_WAIT_S, vital=False))
        yield
