"""The one change made to the simulator: objects are hashed by their id.

The simulator keeps a room's objects in hash sets, compares objects by their id, and leaves their
hash to Java's default, which is a random number. The order in which a set is walked decides the
order of like things in a description ("wood cup, wood cup"), which of several matches an
ambiguous command offers as number 0, and which of two connected devices is updated first. So the
simulator's own answers differ from run to run; in `chemistry-mix-paint-secondary-color` at the
first look into the art studio, with its three wood cups of paint.

Here the class `EnvObject` gets a method `int hashCode() { return (int) uuid; }`, written into a
copy of the class file. Sets are then walked in one of the orders that chance could have given,
and the same one in every run.
"""

import struct
import zipfile
from pathlib import Path

CLASS_NAME = "scienceworld/struct/EnvObject"
ID_FIELD = "uuid"

_UTF8 = 1
# Tag of a constant -> bytes that follow the tag (Java Virtual Machine Specification, 4.4).
_CONSTANT_BYTES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4}
_CONSTANT_BYTES |= {15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
_TAKES_TWO_SLOTS = (5, 6)


def write_patched_class(jar: Path, folder: Path) -> None:
    """Write the changed class under `folder`, which then goes before the jar in the class path."""
    with zipfile.ZipFile(jar) as archive:
        original = archive.read(f"{CLASS_NAME}.class")
    target = folder / f"{CLASS_NAME}.class"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(with_hash_of_id(original))


def with_hash_of_id(class_file: bytes) -> bytes:
    """The class with a `hashCode` that returns the low half of its long field `uuid`.

    Raises:
        ValueError: not the class that this was written for.
    """
    pool_count, constants, pool_end = _read_pool(class_file)
    names = {text: index for index, text in constants.items()}
    if names.get("hashCode") or ID_FIELD not in names:
        raise ValueError(f"{CLASS_NAME}: another version than this change was made for")
    methods_at = _methods_offset(class_file, pool_end)

    added: list[bytes] = []

    def constant(body: bytes) -> int:
        added.append(body)
        return pool_count + len(added) - 1

    def utf8(text: str) -> int:
        raw = text.encode()
        return names.get(text) or constant(struct.pack(">BH", _UTF8, len(raw)) + raw)

    owner = constant(struct.pack(">BH", 7, utf8(CLASS_NAME)))
    name_and_type = constant(struct.pack(">BHH", 12, utf8(ID_FIELD), utf8("J")))
    field = constant(struct.pack(">BHH", 9, owner, name_and_type))
    # aload_0; getfield uuid; l2i; ireturn
    code = b"\x2a\xb4" + struct.pack(">H", field) + b"\x88\xac"
    body = struct.pack(">HHI", 2, 1, len(code)) + code + struct.pack(">HH", 0, 0)
    method = struct.pack(">HHHH", 0x0001, utf8("hashCode"), utf8("()I"), 1)
    method += struct.pack(">HI", utf8("Code"), len(body)) + body

    (method_count,) = struct.unpack_from(">H", class_file, methods_at)
    return b"".join(
        [
            class_file[:8],
            struct.pack(">H", pool_count + len(added)),
            class_file[10:pool_end],
            *added,
            class_file[pool_end:methods_at],
            struct.pack(">H", method_count + 1),
            method,
            class_file[methods_at + 2 :],
        ]
    )


def _read_pool(class_file: bytes) -> tuple[int, dict[int, str], int]:
    """The constant pool's count, its texts by index, and the offset behind it."""
    magic, _, _, count = struct.unpack_from(">IHHH", class_file)
    if magic != 0xCAFEBABE:
        raise ValueError("not a Java class file")
    texts, offset, index = {}, 10, 1
    while index < count:
        tag = class_file[offset]
        if tag == _UTF8:
            (length,) = struct.unpack_from(">H", class_file, offset + 1)
            start = offset + 3
            texts[index] = class_file[start : start + length].decode("utf-8", "replace")
            offset = start + length
        else:
            offset += 1 + _CONSTANT_BYTES[tag]
        index += 2 if tag in _TAKES_TWO_SLOTS else 1
    return count, texts, offset


def _methods_offset(class_file: bytes, pool_end: int) -> int:
    """Offset of the method count: behind the access flags, names, interfaces and fields."""
    (interfaces,) = struct.unpack_from(">H", class_file, pool_end + 6)
    offset = pool_end + 8 + 2 * interfaces
    (fields,) = struct.unpack_from(">H", class_file, offset)
    offset += 2
    for _ in range(fields):
        (attributes,) = struct.unpack_from(">H", class_file, offset + 6)
        offset += 8
        for _ in range(attributes):
            (length,) = struct.unpack_from(">I", class_file, offset + 2)
            offset += 6 + length
    return offset
