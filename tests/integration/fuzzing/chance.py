# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs at random: decisions only. A seed and a number make the same input each time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from .case import AGAIN, LOGINS, PLACES, REQUESTS, Case, steps
from .message import Field, Message, encoded, message, raw

Change = list[Any]

_NUMBERS = (0, 1, 2, 3, 7, 127, 128, 255, 256, 32768, 35000, 2**21, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
_SMALL = (0, 0, 0, 1, 2, 7, 2**31, 2**32 - 1)  # channels; most often the first
_WORDS = (
    b"", b"session", b"direct-tcpip", b"forwarded-tcpip", b"x11", b"auth-agent@openssh.com", b"exit-status", b"exit-signal",
    b"signal", b"xon-xoff", b"window-change", b"exec", b"shell", b"keepalive@openssh.com", b"eow@openssh.com",
    b"hostkeys-00@openssh.com", b"tcpip-forward", b"server-sig-algs", b"ping@openssh.com", b"ssh-userauth", b"ssh-connection",
    b"publickey", b"password", b"keyboard-interactive", b"publickey,password,keyboard-interactive", b"none", b"ssh-ed25519",
    b"ssh-rsa", b"TERM", b"KILL", b"password: ", b"code: ", b"{{ 7*7 }}{% raw %}", b"\xff\xfe\x80\xc3", b"\xed\xa0\x80",
    b"\0\0\0", b"\n\r\x1b[2J", "\u202e\u2066".encode(), b"%s%n", b",,,", b"a" * 300, b"A" * 5000, b"b" * 40000,
)  # fmt: skip
#: What a client waits for no longer than the time that it has for a hop.
_WAITED_FOR = frozenset(
    {
        "kexinit",
        "kex",
        "newkeys",
        "service",
        "none",
        "key",
        "password",
        "question",
        "answered",
        "open",
        "forward",
        "subsystem",
        "sftp version",
    }
)


def cases(seed: int, first: int = 0) -> Iterator[tuple[int, Case]]:
    """Without end, from a number on."""
    number = first
    while True:
        yield number, case(seed, number)
        number += 1


def case(seed: int, number: int) -> Case:
    """One input. Of each three, two say a message of any type in any state, and one alters what is said."""
    random = Random(f"{seed} {number}")
    turn, layer = divmod(number, 3)
    if layer < 2:
        pairs = _pairs(seed)
        state, kind = pairs[(2 * turn + layer) % len(pairs)]
        request, place, login = random.choice(_reaching()[state])
        plan = _strangers(random, steps(request, place, login), state, kind)
    else:
        request, place, login = random.choice(REQUESTS), random.choice(PLACES), random.choice(LOGINS)
        plan = _alterations(random, steps(request, place, login))
    if any(state in AGAIN for state in plan):
        # Once there are keys, at the latest before the request is served.
        plan.setdefault(random.choice(("service", "none", "exec", "subsystem", "forward")), []).append(["rekey"])
    patience = 0.6 if place != "bastion" else 1.5
    if any(["drop"] in changes for state, changes in plan.items() if state in _WAITED_FOR) and random.random() < 0.2:
        patience = 20.0  # so that the client has to end it
    return Case(request, place, login, random.random() < 0.3, patience, plan)


# Messages of any type in any state


@functools.cache
def _reaching() -> dict[str, list[tuple[str, str, str]]]:
    """State -> the requests, places and logins that come to it."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for request, place, login in itertools.product(REQUESTS, PLACES, LOGINS):
        for state in _states(request, place, login):
            found.setdefault(state, []).append((request, place, login))
    return found


def _states(request: str, place: str, login: str) -> tuple[str, ...]:
    return (*steps(request, place, login), *(() if request == "survey" else AGAIN))


@functools.lru_cache(1)
def _pairs(seed: int) -> list[tuple[str, int]]:
    """Every type in every state, in an order of the seed's: first the types that there are, then all others."""
    pairs: list[tuple[str, int]] = []
    random = Random(f"{seed} pairs")
    for kinds in (_TEMPLATES, sorted(set(range(1, 256)) - set(_TEMPLATES))):
        part = list(itertools.product(_reaching(), kinds))
        random.shuffle(part)
        pairs += part
    return pairs


def _strangers(random: Random, states: tuple[str, ...], state: str, kind: int) -> dict[str, list[Change]]:
    plan: dict[str, list[Change]] = {}
    for where, first in ((state, kind), *(((random.choice(states), _kind(random)),) if random.random() < 0.3 else ())):
        changes = [_stranger(random, first)]
        changes += [_stranger(random, _kind(random)) for _more in range(random.choice((0, 2, 4, 8)))]
        changes += [_ending(random)] if random.random() < 0.25 else []
        plan[where] = changes
    return plan


def _kind(random: Random) -> int:
    return random.choice(tuple(_TEMPLATES)) if random.random() < 0.8 else random.randint(1, 255)


def _stranger(random: Random, kind: int) -> Change:
    return [random.choice(("before", "after")), kind, _latin(_body(random, kind))]


def _ending(random: Random) -> Change:
    return random.choice([["drop"], ["again", 1], ["again", 3], ["end"], ["rekey"], ["cut", 1]])


def _body(random: Random, kind: int) -> bytes:
    chance = random.random()
    if chance < 0.15:
        return random.randbytes(random.choice((0, 1, 3, 4, 5, 40, 300)))
    if chance < 0.3:
        return b"".join(encoded(message(None, _any(random))) for _number in range(random.randint(1, 5)))
    made = _TEMPLATES.get(kind, _unknown)(random)
    if chance < 0.6:
        return encoded(Message(None, made.fields))
    fields = list(made.fields)
    if fields:
        index = random.randrange(len(fields))
        fields[index] = _field(random)
    data = encoded(Message(None, tuple(fields)))
    return data[: random.randrange(len(data) + 1)] if random.random() < 0.3 else data


def _any(random: Random) -> int | bytes | bool:
    return random.choice((random.choice(_NUMBERS), random.choice(_WORDS), bool(random.getrandbits(1))))


def _field(random: Random) -> Field:
    value = _any(random)
    if isinstance(value, bytes):
        return Field("str", value, random.choice((None, None, 0, len(value) + 1, 2**31, 2**32 - 1)))
    return Field("bool" if isinstance(value, bool) else "u32", value)


def _word(random: Random) -> bytes:
    return random.choice(_WORDS)


def _unknown(random: Random) -> Message:
    return message(None, *(_any(random) for _number in range(random.randrange(4))))


def _lists(random: Random) -> Message:
    names = [b"curve25519-sha256@libssh.org", b"ssh-ed25519", *[b"aes128-ctr"] * 2, *[b"hmac-sha2-256"] * 2]
    chosen = [name if random.random() < 0.8 else _word(random) for name in [*names, b"none", b"none", b"", b""]]
    return message(None, raw(random.randbytes(16)), *chosen, bool(random.getrandbits(1)), 0)


def _request(random: Random) -> Message:
    channel, reply = random.choice(_SMALL), random.random() < 0.5
    rest: tuple[Any, ...] = random.choice(
        (
            (b"exit-status", reply, random.choice(_NUMBERS)),
            (b"exit-signal", reply, _word(random), False, _word(random), b""),
            (_word(random), reply),
            (_word(random), reply, _any(random), _any(random)),
        )
    )
    return message(None, channel, *rest)


def _questions(random: Random) -> Message:
    count = random.choice((0, 1, 2, 2, 50, 2**32 - 1))
    asked = [value for _number in range(min(count, 3)) for value in (_word(random), bool(random.getrandbits(1)))]
    return message(None, _word(random), _word(random), b"", count, *asked)


def _opening(random: Random) -> Message:
    return message(
        None, _word(random), *(random.choice(_NUMBERS) for _number in range(3)), _word(random), 1, _word(random), 1
    )


def _of_channel(*more: Callable[[Random], int | bytes]) -> Callable[[Random], Message]:
    return lambda random: message(None, random.choice(_SMALL), *(each(random) for each in more))


def _number(random: Random) -> int:
    return random.choice(_NUMBERS)


#: A message of each type that RFC 4250 section 4.1.2 knows, and what came later, without its number.
_TEMPLATES: dict[int, Callable[[Random], Message]] = {
    1: lambda random: message(None, random.choice((1, 2, 11, 2**32 - 1)), _word(random), b""),
    2: lambda random: message(None, _word(random)),
    3: lambda random: message(None, random.choice(_NUMBERS)),
    4: lambda random: message(None, True, _word(random), b""),
    5: lambda random: message(None, _word(random)),
    6: lambda random: message(None, random.choice((b"ssh-userauth", b"ssh-connection", _word(random)))),
    7: lambda random: message(None, random.choice((0, 1, 2, 2**32 - 1)), b"server-sig-algs", _word(random)),
    20: _lists,
    21: lambda random: message(None),
    30: lambda random: message(None, random.randbytes(32)),
    31: lambda random: message(None, _word(random), random.randbytes(32), _word(random)),
    32: _unknown, 33: _unknown, 34: _unknown,
    50: lambda random: message(None, b"user", b"ssh-connection", _word(random)),
    51: lambda random: message(None, random.choice((b"publickey", b"password", _word(random))), bool(random.getrandbits(1))),
    52: lambda random: message(None),
    53: lambda random: message(None, _word(random), b""),
    60: _questions,
    61: lambda random: message(None, 1, _word(random)),
    80: lambda random: message(None, _word(random), bool(random.getrandbits(1)), _any(random)),
    81: _unknown,
    82: lambda random: message(None),
    90: _opening,
    91: _of_channel(_number, _number, _number),
    92: _of_channel(lambda random: random.choice((1, 2, 3, 4, 9)), _word, _word),
    93: _of_channel(_number),
    94: _of_channel(_word),
    95: _of_channel(_number, _word),
    96: _of_channel(),
    97: _of_channel(),
    98: _request,
    99: _of_channel(),
    100: _of_channel(),
    192: lambda random: message(None, _word(random)),
}  # fmt: skip


#: All states, and the types that there are.
STATES = tuple(_reaching())
KINDS = tuple(_TEMPLATES)


# Well-formed messages with fields that are not


def _alterations(random: Random, states: tuple[str, ...]) -> dict[str, list[Change]]:
    plan: dict[str, list[Change]] = {}
    for _point in range(random.choice((1, 1, 2, 3))):
        plan[random.choice((*states, *AGAIN) if random.random() < 0.1 else states)] = [
            _alteration(random) for _number in range(random.choice((1, 1, 2, 3)))
        ]
    return plan


def _alteration(random: Random) -> Change:
    index = random.randint(0, 5)
    return random.choice(
        (
            ["set", index, random.choice(_NUMBERS)],
            ["set", index, random.choice(_NUMBERS)],
            ["set", index, _latin(_word(random))],
            ["add", index, random.choice((-1, 1, 1000, -100))],
            ["length", index, random.choice(_NUMBERS)],
            ["remove", index],
            ["double", index],
            ["swap", index, random.randint(0, 5)],
            ["cut", random.randint(0, 40)],
            ["extend", _latin(_word(random))],
            ["frame", "length", random.choice((*_NUMBERS, 35001, 2**18))],
            ["frame", "padding", random.randint(0, 255)],
            ["frame", "mac", 1],
            _ending(random),
            _ending(random),
        )
    )


def _latin(data: bytes) -> Any:
    """As JSON, a long repetition in short."""
    if len(data) > 200 and len(set(data)) == 1:
        return [[data[:1].decode("latin-1"), len(data)]]
    return data.decode("latin-1")
