# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH and SFTP messages as fields (RFC 4251 section 5), and what can be done to one before it is sent.

A change is a list of JSON: its name, then what it needs. Bytes are written as in a corpus: text of Latin-1, or a list of pieces, of
which ``["A", 1000]`` is a thousand times an A.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

_U32 = 0xFFFFFFFF


class Field(NamedTuple):
    """One value. kinds: byte, bool, u32, u64, str, raw; declared: the length that a string claims to have."""

    kind: str
    value: int | bytes
    declared: int | None = None


@dataclass(frozen=True)
class Message:
    """A well-formed message.

    :param kind: its number; None for what has none, such as the line of the version.
    """

    kind: int | None
    fields: tuple[Field, ...]


@dataclass
class Payload:
    """What goes out.

    :param strange: whether a healthy server would not say it.
    :param frame: what is wrong with the packet around it: ``length``, ``padding`` or ``mac`` -> a value.
    :param rekey: whether new keys are asked for after it.
    :param ends: whether the connection ends after it.
    """

    data: bytes
    strange: bool = False
    frame: dict[str, int] = field(default_factory=dict)
    rekey: bool = False
    ends: bool = False


def message(kind: int | None, *fields: Field | int | bytes | bool) -> Message:
    """Of plain values: an int is a u32, bytes are a string."""
    return Message(kind, tuple(map(_field, fields)))


def _field(value: Field | int | bytes | bool) -> Field:
    if isinstance(value, Field):
        return value
    if isinstance(value, bool):
        return Field("bool", int(value))
    return Field("str", value) if isinstance(value, bytes) else Field("u32", value)


def u64(value: int) -> Field:
    """A field of eight bytes."""
    return Field("u64", value)


def raw(data: bytes) -> Field:
    """Bytes as they are."""
    return Field("raw", data)


def blob(value: Any) -> bytes:
    """The bytes that JSON says."""
    pieces = [value] if isinstance(value, str) else value
    return b"".join(
        piece.encode("latin-1") if isinstance(piece, str) else piece[0].encode("latin-1") * piece[1] for piece in pieces
    )


def encoded(item: Message) -> bytes:
    """As bytes."""
    return _bytes(_fields(item))


def _fields(item: Message) -> list[Field]:
    return [*([] if item.kind is None else [Field("byte", item.kind)]), *item.fields]


def _bytes(fields: Sequence[Field]) -> bytes:
    return b"".join(map(_encoded, fields))


def _encoded(item: Field) -> bytes:
    kind, value, declared = item
    if isinstance(value, bytes):
        if kind == "raw":
            return value
        return struct.pack(">I", (len(value) if declared is None else declared) & _U32) + value
    if kind in ("byte", "bool"):
        return bytes([value & 255])
    return struct.pack(">Q", value & (_U32 << 32 | _U32)) if kind == "u64" else struct.pack(">I", value & _U32)


def changed(item: Message, changes: Sequence[Sequence[Any]]) -> list[Payload]:
    """What is sent in place of a message: the message itself, altered, with others around it.

    Fields are counted from 0, the number of the message among them; one that is not there is left alone.
    """
    made = _Making(_fields(item))
    for name, *values in changes:
        getattr(made, f"do_{name}")(*values)
    return made.payloads()


class _Making:
    def __init__(self, fields: list[Field]) -> None:
        self._fields = fields
        self._usual = _bytes(fields)
        self._before: list[Payload] = []
        self._after: list[Payload] = []
        self._times = 1
        self._keep: int | None = None
        self._tail = b""
        self._frame: dict[str, int] = {}
        self._rekey = self._ends = False

    def payloads(self) -> list[Payload]:
        """In the order in which they are sent."""
        data = _bytes(self._fields)[: self._keep] + self._tail
        strange = data != self._usual or bool(self._frame)
        itself = [Payload(data, strange or time > 0, self._frame) for time in range(self._times)]
        found = [*self._before, *itself, *self._after]
        if self._rekey or self._ends:
            last = found.pop() if found else Payload(b"")
            found.append(replace(last, rekey=self._rekey, ends=self._ends))
        return found

    def do_before(self, kind: int, body: Any) -> None:
        self._before.append(Payload(bytes([kind]) + blob(body), strange=True))

    def do_after(self, kind: int, body: Any) -> None:
        self._after.append(Payload(bytes([kind]) + blob(body), strange=True))

    def do_set(self, index: int, value: Any) -> None:
        if index < len(self._fields):
            kind = self._fields[index].kind
            text = not isinstance(value, int)
            self._fields[index] = Field(("raw" if kind == "raw" else "str") if text else kind, blob(value)) if text else (
                Field("u32" if kind in ("str", "raw") else kind, value)
            )  # fmt: skip

    def do_add(self, index: int, more: int) -> None:
        if index < len(self._fields):
            found = self._fields[index]
            if isinstance(found.value, int):
                self._fields[index] = found._replace(value=found.value + more)

    def do_length(self, index: int, declared: int) -> None:
        if index < len(self._fields):
            self._fields[index] = self._fields[index]._replace(declared=declared)

    def do_remove(self, index: int) -> None:
        del self._fields[index : index + 1]

    def do_double(self, index: int) -> None:
        self._fields[index:index] = self._fields[index : index + 1]

    def do_swap(self, one: int, other: int) -> None:
        if max(one, other) < len(self._fields):
            self._fields[one], self._fields[other] = self._fields[other], self._fields[one]

    def do_cut(self, keep: int) -> None:
        self._keep = keep

    def do_extend(self, more: Any) -> None:
        self._tail += blob(more)

    def do_again(self, times: int) -> None:
        self._times += times

    def do_drop(self) -> None:
        self._times = 0

    def do_frame(self, what: str, value: int) -> None:
        self._frame[what] = value

    def do_rekey(self) -> None:
        self._rekey = True

    def do_end(self) -> None:
        self._ends = True
