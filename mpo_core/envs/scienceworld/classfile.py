"""Reading a Java class file, adding methods to it and writing it again.

After the Java Virtual Machine Specification, chapter 4. Nothing is understood but the outline:
constants, fields, methods and attributes are kept as they are, and new ones go behind them.
"""

import struct

UTF8, CLASS, FIELD, METHOD, NAME_AND_TYPE = 1, 7, 9, 10, 12
PUBLIC, STATIC = 0x0001, 0x0008

# Tag of a constant -> bytes behind the tag.
_CONSTANT_BYTES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4}
_CONSTANT_BYTES |= {15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
_TAKES_TWO_SLOTS = (5, 6)


class ClassFile:
    """A class, open to additions."""

    def __init__(self, content: bytes) -> None:
        """Raises ValueError when this is no class file."""
        self._content, self._offset = content, 8
        if content[:4] != b"\xca\xfe\xba\xbe":
            raise ValueError("not a Java class file")
        self._version = content[:8]
        self._constants = self._read_constants()
        self._slots = {entry: slot for slot, entry in reversed(self._constants.items())}
        names_at = self._offset
        self._skip(6)
        self._skip(2 * self._count())
        self._names_and_interfaces = content[names_at : self._offset]
        self._fields = [self._read_member() for _ in range(self._count())]
        self._methods = [self._read_member() for _ in range(self._count())]
        self._attributes = content[self._offset :]

    def constant(self, tag: int, *parts: int | str) -> int:
        """Slot of a constant, added if there is none: its parts are slots, or texts."""
        slots = [part if isinstance(part, int) else self._text(part) for part in parts]
        return self._slot(struct.pack(f">B{len(slots)}H", tag, *slots))

    def _text(self, text: str) -> int:
        content = text.encode()
        return self._slot(struct.pack(">BH", UTF8, len(content)) + content)

    def _slot(self, entry: bytes) -> int:
        if entry not in self._slots:
            self._slots[entry] = self._next_slot
            self._constants[self._next_slot] = entry
            self._next_slot += 1
        return self._slots[entry]

    def member(self, tag: int, owner: str, name: str, descriptor: str) -> bytes:
        """Slot, as an instruction's operand, of a FIELD or METHOD of the class `owner`."""
        name_and_type = self.constant(NAME_AND_TYPE, name, descriptor)
        return struct.pack(">H", self.constant(tag, self.constant(CLASS, owner), name_and_type))

    def class_operand(self, name: str) -> bytes:
        return struct.pack(">H", self.constant(CLASS, name))

    def add_static_field(self, name: str, descriptor: str) -> None:
        self._fields.append(self._member_head(PUBLIC | STATIC, name, descriptor) + b"\0\0")

    def add_method(
        self, name: str, descriptor: str, code: bytes, *, stack: int, slots: int, frame: bytes = b""
    ) -> None:
        """A public method; `frame` is its one stack map frame, where it branches.

        Raises:
            ValueError: the class has such a method.
        """
        if self._find_method(name, descriptor) is not None:
            raise ValueError(f"the class has a method {name} already")
        attributes = struct.pack(">H", 0)
        if frame:
            table = struct.pack(">H", 1) + frame
            attributes = struct.pack(">H", 1) + self._attribute("StackMapTable", table)
        body = struct.pack(">HHI", stack, slots, len(code)) + code + b"\0\0" + attributes
        head = self._member_head(PUBLIC, name, descriptor)
        self._methods.append(head + struct.pack(">H", 1) + self._attribute("Code", body))

    def rename_method(self, name: str, descriptor: str, new_name: str) -> None:
        """Raises ValueError when there is no such method, or one of the new name."""
        found = self._find_method(name, descriptor)
        if found is None:
            raise ValueError(f"the class has no method {name}")
        if self._find_method(new_name, descriptor) is not None:
            raise ValueError(f"the class has a method {new_name} already")
        method = self._methods[found]
        slot = struct.pack(">H", self._text(new_name))
        self._methods[found] = method[:2] + slot + method[4:]

    def has_field(self, name: str, descriptor: str) -> bool:
        wanted = self._member_head(0, name, descriptor)[2:]
        return any(field[2:6] == wanted for field in self._fields)

    def content(self) -> bytes:
        return b"".join(
            [
                self._version,
                struct.pack(">H", self._next_slot),
                *self._constants.values(),
                self._names_and_interfaces,
                struct.pack(">H", len(self._fields)),
                *self._fields,
                struct.pack(">H", len(self._methods)),
                *self._methods,
                self._attributes,
            ]
        )

    def _find_method(self, name: str, descriptor: str) -> int | None:
        wanted = self._member_head(0, name, descriptor)[2:]
        return next((i for i, m in enumerate(self._methods) if m[2:6] == wanted), None)

    def _member_head(self, flags: int, name: str, descriptor: str) -> bytes:
        return struct.pack(">HHH", flags, self._text(name), self._text(descriptor))

    def _attribute(self, name: str, body: bytes) -> bytes:
        return struct.pack(">HI", self._text(name), len(body)) + body

    def _read_constants(self) -> dict[int, bytes]:
        """Slot -> constant, tag included."""
        constants, slot, self._next_slot = {}, 1, self._count()
        while slot < self._next_slot:
            start, tag = self._offset, self._content[self._offset]
            self._skip(1)
            self._skip(self._count() if tag == UTF8 else _CONSTANT_BYTES[tag])
            constants[slot] = self._content[start : self._offset]
            slot += 2 if tag in _TAKES_TWO_SLOTS else 1
        return constants

    def _read_member(self) -> bytes:
        """A field or method with its attributes."""
        start = self._offset
        self._skip(6)
        for _ in range(self._count()):
            (length,) = struct.unpack_from(">I", self._content, self._offset + 2)
            self._skip(6 + length)
        return self._content[start : self._offset]

    def _count(self) -> int:
        (count,) = struct.unpack_from(">H", self._content, self._offset)
        self._skip(2)
        return count

    def _skip(self, size: int) -> None:
        self._offset += size
