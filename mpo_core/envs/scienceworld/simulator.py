"""Many worlds in one simulator process, each as if it were alone there.

The simulator was written for one world per process and keeps three things in global variables:
the counter behind object ids (`util.UniqueIdentifier`), the random number generator
(`scala.util.Random`) and the list of simplifications in force (`SimplifierProcessor`; they differ
between task types even under the one setting `easy`). Loading a world overwrites all three and
its steps read and advance them, so each world carries its own copy, which is put in place before
any call for it.

One loader (a `PythonInterface`) serves all worlds: it holds megabytes of tables that only loading
needs, while a loaded world needs its `AgentInterface` alone.
"""

from dataclasses import dataclass, replace

from mpo_core.envs.scienceworld.jvm import Jvm
from mpo_core.envs.scienceworld.wire import Ref, call, new, release
from mpo_core.errors import InputError

NO_ACTION = "No known action matches that input."
EMPTY_ANSWER = (
    "Unknown action.  Type 'help' for a list of actions, and 'objects' for a list of possible "
    "object referents. "
)
"""What the simulator answers to an action that it cannot parse, and its Python side to silence."""

_COUNTER = "util.UniqueIdentifier"
_SIMPLIFIER = "main.scala.scienceworld.runtime.SimplifierProcessor"


@dataclass
class World:
    """A loaded task and its copy of the simulator's global state."""

    option: Ref
    """Scala's `Some(interface)`, as the loader wants it back."""
    interface: Ref
    random: Ref
    simplifications: str
    description: str
    counter: int
    score: float = 0.0
    completed: bool = False


@dataclass(frozen=True)
class Reply:
    """The simulator's answer to one action."""

    observation: str
    score: float
    """Raw score, 0..1; negative when the task is failed for good."""
    completed: bool
    understood: bool


class Simulator:
    """The worlds of one process. Blocking; every call from the thread that made it."""

    def __init__(self, jvm: Jvm) -> None:
        self.jvm = jvm
        self._current: World | None = None
        self._simplifications: str | None = None
        self._released: list[Ref] = []
        [self._loader] = jvm.run(new("scienceworld.runtime.pythonapi.PythonInterface"))
        self._random_slot, self._random_owner = self._find_random_slot()

    @property
    def pid(self) -> int:
        return self.jvm.pid

    @property
    def lost(self) -> str | None:
        return self.jvm.lost

    def stop(self) -> None:
        self.jvm.stop()

    def load(
        self, task_type: str, variation: int, simplification: str, gold_path: bool = False
    ) -> World:
        """Load a task, as it is before its first action.

        Raises:
            InputError: the simulator knows no such task, variation or simplification.
        """
        self._flush()
        self._current = None
        # Loading seeds whatever generator is in place, and so must find one that is nobody's.
        [random] = self.jvm.run(new("java.util.Random"))
        self._simplifications = None
        _, fault = self.jvm.run(
            self._use_random(random),
            call(self._loader, "load", task_type, variation, simplification, gold_path),
        )
        if fault:
            raise InputError(f"ScienceWorld: {task_type}/{variation}: {' '.join(fault.split())}")
        [option] = self.jvm.run(call(self._loader, "agentInterface"))
        [interface] = self.jvm.run(call(option, "get"))
        in_force, description, counter, failed = self.jvm.run(
            call(interface, "simplificationStr"),
            call(interface, "getTaskDescription"),
            call(_COUNTER, "count"),
            call(interface, "isInErrorState"),
        )
        world = World(option, interface, random, in_force, description, counter)
        self._current, self._simplifications = world, in_force
        if failed:
            [message] = self.jvm.run(call(interface, "getErrorStateMessage"))
            self.discard(world)
            raise InputError(f"ScienceWorld: {task_type}/{variation}: {' '.join(message.split())}")
        return world

    def step(self, world: World, action: str) -> Reply:
        """Do one action. Raises `JavaError` where the simulator itself fails."""
        command = action.strip().lower()
        if command in ("help", "objects", "task"):
            return Reply(self._aid(world, command), world.score, world.completed, True)
        *_, answer = self.jvm.run(*self._enter(world), call(world.interface, "step", action))
        text, _, world.counter = self.jvm.run(
            call(answer, "toString"), release(answer), call(_COUNTER, "count")
        )
        # Scala prints the tuple as "(observation,score,completed)".
        observation, score, completed = text[1:-1].rsplit(",", 2)
        world.score, world.completed = float(score), completed == "true"
        understood = observation not in ("", NO_ACTION)
        return Reply(observation or EMPTY_ANSWER, world.score, world.completed, understood)

    def valid_actions(self, world: World) -> list[str]:
        """Every action that the world would accept now; changes nothing in it."""
        # Names that are not unique are told apart by drawing random numbers: not the world's.
        [random] = self.jvm.run(new("java.util.Random", 0))
        lines = self._listing(replace(world, random=random), "getValidActionObjectCombinations")
        self._released.append(random)
        return lines

    def gold_path(self) -> list[str]:
        """Actions that solve the task that was last loaded, if with `gold_path`."""
        return self._list(call(self._loader, "getGoldActionSequence"))

    def discard(self, world: World) -> None:
        """Let go of a world; its memory is freed with the next call."""
        self._released += [world.option, world.interface, world.random]

    def _aid(self, world: World, command: str) -> str:
        if command == "task":
            return f"Task description:\n{world.description}"
        if command == "help":
            return "Possible actions: \n\t" + "\n\t".join(
                self._listing(world, "getPossibleActions")
            )
        objects = self._listing(world, "getPossibleObjects")
        return "Possible object references: \n\t" + "\n\t".join(objects)

    def _listing(self, world: World, method: str) -> list[str]:
        self.jvm.run(*self._enter(world), call(self._loader, "agentInterface_$eq", world.option))
        lines = self._list(call(self._loader, method))
        [world.counter] = self.jvm.run(call(_COUNTER, "count"))
        return lines

    def _list(self, command: str) -> list[str]:
        [items] = self.jvm.run(command)
        text, _ = self.jvm.run(call("java.lang.String", "join", "\n", items), release(items))
        return text.split("\n") if text else []

    def _enter(self, world: World) -> list[str]:
        """Commands that put a world's copy of the global state in place."""
        commands = self._flush_commands()
        if self._current is world:
            return commands
        self._current = world
        commands += [
            call(_COUNTER, "count_$eq", world.counter),
            self._use_random(world.random),
        ]
        if self._simplifications != world.simplifications:
            self._simplifications = world.simplifications
            commands.append(call(_SIMPLIFIER, "parseSimplificationStr", world.simplifications))
        return commands

    def _use_random(self, random: Ref) -> str:
        return call(self._random_slot, "set", self._random_owner, random)

    def _find_random_slot(self) -> tuple[Ref, Ref]:
        """The field that holds the generator of `scala.util.Random`, and the object it is in."""
        [module] = self.jvm.run(call("java.lang.Class", "forName", "scala.util.Random$"))
        [holder] = self.jvm.run(call(module, "getField", "MODULE$"))
        [owner] = self.jvm.run(call(holder, "get", None))
        [random_class] = self.jvm.run(call("java.lang.Class", "forName", "scala.util.Random"))
        [field] = self.jvm.run(call(random_class, "getDeclaredField", "self"))
        self.jvm.run(call(field, "setAccessible", True))
        return field, owner

    def _flush_commands(self) -> list[str]:
        commands = [release(ref) for ref in self._released]
        self._released.clear()
        return commands

    def _flush(self) -> None:
        self.jvm.run(*self._flush_commands())
