"""The two changes made to the simulator, in copies of three of its class files.

**Objects are hashed by their id.** The simulator keeps a room's objects in hash sets, compares
objects by their id, and leaves their hash to Java's default, which is a random number. The order
in which a set is walked decides the order of like things in a description ("wood cup, wood
cup"), which of several matches an ambiguous command offers as number 0, and which of two
connected devices is updated first. So the simulator's own answers differ from run to run; in
`chemistry-mix-paint-secondary-color` at the first look into the art studio, with its three wood
cups of paint. `EnvObject` gets a `hashCode` that returns its id: sets are then walked in one of
the orders that chance could have given, and the same one in every run.

**The parser works out an object's names once a command.** It tries a command against every
action's patterns, and for each works out all names of all objects around again, while nothing
moves; that is most of a step's time. Here `parse` begins with an empty memory, and
`getObjectReferents` looks there first. The answers are the same.
"""

import struct
import zipfile
from pathlib import Path

from mpo_core.envs.scienceworld.classfile import FIELD, METHOD, ClassFile

OBJECT = "scienceworld/struct/EnvObject"
PARSER = "scienceworld/input/InputParser"
PARSER_MODULE = "scienceworld/input/InputParser$"

_MAP = "java/util/HashMap"
_MEMORY = ("referents", f"L{_MAP};")
_ID = ("uuid", "J")
_PARSE = (
    "parse",
    f"(Ljava/lang/String;L{OBJECT};L{OBJECT};Lscienceworld/objects/agent/Agent;"
    f"Lscienceworld/tasks/goals/ObjMonitor;Lscienceworld/tasks/goals/GoalSequence;L{OBJECT};)"
    "Lscala/Tuple4;",
)
_REFERENTS = ("getObjectReferents", f"(L{OBJECT};L{OBJECT};)[Ljava/lang/String;")
_ORIGINAL = "$original"


def write_patched_classes(jar: Path, folder: Path) -> None:
    """Write the changed classes under `folder`, which then goes before the jar in the class path.

    Raises:
        ValueError: the simulator is another version than these changes were made for.
    """
    changes = {OBJECT: hash_by_id, PARSER: forget_at_parse, PARSER_MODULE: remember_referents}
    with zipfile.ZipFile(jar) as archive:
        for name, change in changes.items():
            target = folder / f"{name}.class"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(change(archive.read(f"{name}.class")))


def hash_by_id(original: bytes) -> bytes:
    """`EnvObject` with `int hashCode() { return (int) uuid; }`."""
    changed = ClassFile(original)
    if not changed.has_field(*_ID):
        raise ValueError(f"{OBJECT} has no field {_ID[0]}")
    # aload_0; getfield uuid; l2i; ireturn
    code = b"\x2a\xb4" + changed.member(FIELD, OBJECT, *_ID) + b"\x88\xac"
    changed.add_method("hashCode", "()I", code, stack=2, slots=1)
    return changed.content()


def forget_at_parse(original: bytes) -> bytes:
    """`InputParser` whose `parse` sets `referents = new HashMap()` and goes on as before."""
    changed = ClassFile(original)
    name, descriptor = _PARSE
    changed.rename_method(name, descriptor, name + _ORIGINAL)
    code = b"".join(
        [
            b"\xbb" + changed.class_operand(_MAP),  # new HashMap
            b"\x59",  # dup
            b"\xb7" + changed.member(METHOD, _MAP, "<init>", "()V"),  # invokespecial
            b"\xb3" + changed.member(FIELD, PARSER_MODULE, *_MEMORY),  # putstatic
            b"\x2a\x2b\x2c\x2d\x19\x04\x19\x05\x19\x06\x19\x07",  # aload 0 to 7
            b"\xb6" + changed.member(METHOD, PARSER, name + _ORIGINAL, descriptor),  # invokevirtual
            b"\xb0",  # areturn
        ]
    )
    changed.add_method(name, descriptor, code, stack=8, slots=8)
    return changed.content()


def remember_referents(original: bytes) -> bytes:
    """The parser's module with a memory, whose `getObjectReferents(object, view)` is:

    found = referents.get(object);
    if (found == null) referents.put(object, found = the original's answer);
    return (String[]) found;

    The view (the room that the agent is in) is the same throughout a command.
    """
    changed = ClassFile(original)
    name, descriptor = _REFERENTS
    changed.rename_method(name, descriptor, name + _ORIGINAL)
    changed.add_static_field(*_MEMORY)
    memory = b"\xb2" + changed.member(FIELD, PARSER_MODULE, *_MEMORY)  # getstatic referents
    get = changed.member(METHOD, _MAP, "get", "(Ljava/lang/Object;)Ljava/lang/Object;")
    put = changed.member(
        METHOD, _MAP, "put", "(Ljava/lang/Object;Ljava/lang/Object;)Ljava/lang/Object;"
    )
    work_out = changed.member(METHOD, PARSER_MODULE, name + _ORIGINAL, descriptor)
    missing = b"".join(
        [
            b"\x57",  # pop
            memory + b"\x2b",  # aload_1
            b"\x2a\x2b\x2c\xb6" + work_out,  # aload_0, aload_1, aload_2, invokevirtual
            b"\x5b\xb6" + put + b"\x57",  # dup_x2, invokevirtual, pop
        ]
    )
    found = b"\xc0" + changed.class_operand("[Ljava/lang/String;") + b"\xb0"  # checkcast, areturn
    branch = b"\xc7" + struct.pack(">H", 3 + len(missing))  # ifnonnull: over the missing part
    code = memory + b"\x2b\xb6" + get + b"\x59" + branch + missing + found
    # Where the branch leads, the stack holds one Object: frame type 64 plus the place.
    frame = bytes([64 + len(code) - len(found), 7]) + changed.class_operand("java/lang/Object")
    changed.add_method(name, descriptor, code, stack=5, slots=3, frame=frame)
    return changed.content()
