# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Query and stop the running brokers, for users."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

from ..client.address import BrokerUnavailable, Directory, peer
from ..client.spawn import locked
from ..client.wire import FrameStream, PeerClosed, ProtocolError
from ..errors import sanitize

_SECONDS = 10.0


def ask(paths: Iterable[str], request: str) -> Iterator[dict[str, Any]]:
    """Yield the answer of each broker.

    :param paths: directories to search; missing ones are skipped.
    :param request: ``status``, or ``stop``, which also stops the broker.
    :returns: per broker its ``directory`` and ``name``, and either the fields of :meth:`server.Broker.status` or ``problem``, with
        ``ended`` if only its socket was left to be removed. A directory that cannot be used has a ``problem``, and no ``name``.
    """
    for path in dict.fromkeys(paths):
        try:
            directory = Directory(path, create=False)
        except FileNotFoundError:
            continue
        except BrokerUnavailable as error:
            yield {"directory": path, "problem": str(error)}
            continue
        with directory:
            for file in directory.names():
                name, dot, kind = file.rpartition(".")
                if dot and kind == "sock":
                    yield {"directory": path, "name": name, **_answer(directory, file, request)}


def _answer(directory: Directory, file: str, request: str) -> dict[str, Any]:
    try:
        sock = directory.connect(file)
    except BrokerUnavailable as error:
        return {"problem": str(error)}
    except TimeoutError:
        return {"problem": "no answer: too many processes wait for it"}
    if sock is None:
        if request == "stop":
            _remove(directory, file)
            return {"ended": True, "problem": "the broker was killed; its socket is removed"}
        return {"problem": "the broker was killed"}
    pid = peer(sock).pid
    with contextlib.closing(FrameStream(sock)) as connection:
        try:
            with contextlib.suppress(PeerClosed):  # a broker that has closed already may have sent a reason
                connection.send({"op": request})
            frame = connection.receive(_SECONDS)
            if request == "stop":
                connection.receive(_SECONDS)  # the end of the stream
        except (OSError, ProtocolError):
            frame = None
    if frame is not None and frame.header.get("event") == "refused":
        return {"pid": pid, "problem": f"{sanitize(str(frame.header['why']))}; to end it: kill {pid}"}
    if frame is None or not isinstance(frame.header.get("status"), dict):
        return {
            "pid": pid,
            "problem": f"no answer; if ps shows that process {pid} is a broker, end it with kill -9 {pid}",
        }
    return dict(frame.header["status"])


def _remove(directory: Directory, file: str) -> None:
    """Remove the socket of a killed broker, unless another process is starting a new one."""
    with contextlib.suppress(BrokerUnavailable, OSError), locked(directory, file.rpartition(".")[0]):
        sock = directory.connect(file)
        if sock is None:
            directory.remove(file)
        else:
            sock.close()


def described(broker: dict[str, Any]) -> list[str]:
    """Describe a broker in lines of text: one for itself and one for each of its connections."""
    if "name" not in broker:
        return [str(broker["problem"])]
    place = f"{broker['directory']}/{broker['name']}.sock"
    if "problem" in broker:
        return [f"{place}: {broker['problem']}"]
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(broker["since"]))
    lines = [f"broker {broker['pid']} since {since}, {broker['workers']} tasks at work, {place}"]
    if broker["transports"]:
        lines.append("  connections now; the bytes of a bastion are also those of all that it carries:")
    lines += [f"    {_hop(transport)}: {_connected(transport)}" for transport in broker["transports"]]
    if broker["hops"]:
        lines.append(f"  all connections since {since}:")
    return [*lines, *(f"    {_hop(hop)}: {_counted(hop)}" for hop in broker["hops"])]


def _connected(transport: dict[str, Any]) -> str:
    """Describe a current connection."""
    if transport["state"] != "open":
        return "connecting"
    use = f"in use by {transport['leases']}" if transport["leases"] else f"idle for {transport['idle']:.0f} s"
    return f"open for {transport['age']:.0f} s, {use}, used {_times(transport['served'])}, {_traffic(transport)}"


def _counted(hop: dict[str, Any]) -> str:
    """Describe the counts of a hop since the broker started."""
    failures = "; ".join(f"{count} x {cause}" for cause, count in hop["failures"].items())
    failed = f", {sum(hop['failures'].values())} of them failed ({failures})" if failures else ""
    alive = "" if hop["round_trip"] is None else f", last keepalive answered in {1000 * hop['round_trip']:.0f} ms"
    return f"connected to {_times(hop['dials'])}{failed}, used again {_times(hop['reused'])}, {_traffic(hop)}{alive}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _hop(told: dict[str, Any]) -> str:
    return f"{told['hop']} via {told['via']}" if told["via"] else str(told["hop"])


def _traffic(told: dict[str, Any]) -> str:
    return f"{_bytes(told['sent'])} sent, {_bytes(told['received'])} received"


def _bytes(count: int) -> str:
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
