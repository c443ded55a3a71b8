"""Change valid data: bytes, JSON values, fields of protobuf messages, what is behind checksums or compression."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import zstandard
from google.protobuf.message import Message

Mutate = Callable[[bytes, Random], bytes]

LARGEST_BYTES = 1 << 20
_LONGEST_LIST = 200_000
_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64 - 1)
_JSON_VALUES: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 16, 255, 65_536, 10**6, 10**9, 2**63, 10**18, 10**400, -(10**400), 0.5, -0.5, 1e-3, 1e-9, 1e-300,
    1e3, 1e6, 1e12, 1e300, -1e300, 1.8e308, float("nan"), float("inf"), -float("inf"), "", "x", "x" * 5_000, "\ud800",
    "\x1b[2J", "none", "local", "float32", "jpeg90", None, True, False, [], {}, [0], [[]], {"a": 1}, [0] * 2_000,
)  # fmt: skip
_TEXTS = ("", "x" * 5_000, "\x1b[2J", "float32", "int4+zstd", "png", "jpeg90")
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-38, 1e38, 1e300, -1e300, float("nan"), float("inf"), -float("inf"))


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Make one to six changes of bytes."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        _change(found, random)
    return bytes(found[:LARGEST_BYTES])


def _change(data: bytearray, random: Random) -> None:
    size = len(data)
    start = random.randrange(size + 1)
    end = min(size, start + random.choice((1, 2, 4, 8, 16, 64, 1_024)))
    kind = random.randrange(8)
    if kind == 0 and size:
        data[start % size] ^= 1 << random.randrange(8)
    elif kind == 1:
        width, order = random.choice((1, 2, 4, 8)), random.choice(("little", "big"))
        number = random.choice(_NUMBERS) % (1 << 8 * width)
        data[start : start + width] = number.to_bytes(width, order)  # type: ignore[arg-type]
    elif kind == 2:
        del data[start:end]
    elif kind == 3:
        data[end:end] = data[start:end] * random.choice((1, 2, 10, 1_000))
    elif kind == 4:
        data[start:start] = random.randbytes(end - start)
    elif kind == 5:
        del data[start:]
    elif kind == 6:
        other = random.randrange(size + 1)
        data[start:end] = data[other : other + end - start]
    else:
        data[start:end] = bytes([random.choice((0, 0xFF, 0x20, 0x7F))]) * (end - start)


def mutate_json(data: bytes, random: Random) -> bytes:
    """Change one to four values of a JSON text; one time in five some bytes of the text."""
    try:
        value = json.loads(data)
    except ValueError:
        return mutate_bytes(data, random)
    if random.random() < 0.2:
        return mutate_bytes(data, random)
    holder = [value]
    for _ in range(random.choice((1, 1, 2, 4))):
        _change_value(holder, random)
    return json.dumps(holder[0]).encode()[:LARGEST_BYTES]


def _change_value(holder: list[Any], random: Random) -> None:
    parent: Any = holder
    key: Any = 0
    while isinstance(parent[key], (dict, list)) and parent[key] and random.random() < 0.85:
        parent = parent[key]
        key = random.choice(list(parent)) if isinstance(parent, dict) else random.randrange(len(parent))
    kind = random.randrange(10)
    if kind == 0 and isinstance(parent, dict):
        del parent[key]
    elif kind == 1 and isinstance(parent, list) and parent is not holder:
        times = min(random.choice((1, 5, 500)), _LONGEST_LIST // len(repr(parent[key])))
        parent.extend(copy.deepcopy(parent[key]) for _ in range(times))
    elif kind == 2:
        for _ in range(random.choice((1, 10, 100))):
            parent[key] = random.choice(([parent[key]], {"a": parent[key]}))
    elif kind == 3 and isinstance(parent[key], int | float) and abs(parent[key]) < 1e300:
        parent[key] *= random.choice((-1, 0.5, 2, 10, 1e6))
    else:
        parent[key] = copy.deepcopy(random.choice(_JSON_VALUES))


def mutate_message(kind: type[Message]) -> Mutate:
    """Return a function that changes fields of a protobuf message; one time in five some bytes."""

    def mutate(data: bytes, random: Random) -> bytes:
        if random.random() < 0.2:
            return mutate_bytes(data, random)
        message = kind.FromString(data)
        for _ in range(random.choice((1, 1, 2, 4))):
            _change_field(message, random)
        found = message.SerializeToString()
        return found if len(found) <= LARGEST_BYTES else data  # gRPC would refuse it

    return mutate


def _change_field(message: Any, random: Random) -> None:
    field = random.choice(message.DESCRIPTOR.fields)
    value = getattr(message, field.name)
    if field.message_type is not None:
        _change_field(value, random)
    elif field.name == "profile_json":
        message.profile_json = mutate_json(value.encode(), random).decode(errors="replace")
    elif hasattr(value, "append"):
        _change_list(value, field, random)
    elif isinstance(value, bytes):
        setattr(message, field.name, mutate_bytes(value, random))
    else:
        setattr(message, field.name, _any_value(field, value, random))


def _change_list(values: Any, field: Any, random: Random) -> None:
    kind = random.randrange(4)
    if kind == 0 and values:
        del values[random.randrange(len(values)) :]
    elif kind == 1 and values:
        times = random.choice((1, 10, 10_000))
        values.extend(list(values)[: _LONGEST_LIST // times] * times)
    elif kind == 2 or not values:
        values.append(_any_value(field, 0, random))
    else:
        values[random.randrange(len(values))] = _any_value(field, values[0], random)


def _any_value(field: Any, value: Any, random: Random) -> Any:
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return random.choice((*_FLOATS, value * random.choice((-1, 0.5, 2, 10))))
    if field.cpp_type == field.CPPTYPE_STRING:
        return random.choice(
            ("", "x" * 5_000, "\x1b[2J", "float32", "int4+zstd", "png", "jpeg90", value[:-1], value * 2)
        )
    return random.choice((*(number % 2**32 for number in _NUMBERS), max(0, value - 1), value + 1))


def behind_zstd(inner: Mutate) -> Mutate:
    """Change what a zstd frame holds; one time in four the frame itself."""

    def mutate(data: bytes, random: Random) -> bytes:
        if random.random() < 0.25:
            return mutate_bytes(data, random)
        try:
            content = zstandard.ZstdDecompressor().decompress(data, max_output_size=LARGEST_BYTES)
        except zstandard.ZstdError:
            return mutate_bytes(data, random)
        return zstandard.ZstdCompressor(level=1).compress(inner(content, random))

    return mutate


def mutate_png(data: bytes, random: Random) -> bytes:
    """Change the chunks of a PNG file, and write right checksums; one time in four change bytes."""
    if random.random() < 0.25:
        return mutate_bytes(data, random)
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    place = random.randrange(len(chunks)) if chunks else 0
    kind, body = chunks[place] if chunks else (b"IDAT", b"")
    choice = random.randrange(5)
    if choice == 0:
        chunks[place:place] = [(kind, body)] * random.choice((1, 5, 1_000))
    elif choice == 1:
        name = random.choice((b"iCCP", b"zTXt", b"iTXt", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"eXIf", b"gAMA", b"abCd"))
        chunks.insert(place, (name, b"k\0\0" + zlib.compress(bytes(random.choice((10, 1 << 20))))))
    elif choice == 2 and kind == b"IDAT":
        chunks[place] = (kind, _mutate_deflated(body, random))
    else:
        chunks[place : place + 1] = [(kind, mutate_bytes(body, random))]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return (data[:8] + b"".join(parts))[:LARGEST_BYTES]


def _mutate_deflated(body: bytes, random: Random) -> bytes:
    try:
        return zlib.compress(mutate_bytes(zlib.decompress(body), random))
    except zlib.error:
        return mutate_bytes(body, random)


def mutate_safetensors(data: bytes, random: Random) -> bytes:
    """Change the header of a safetensors file, or the JSON in its metadata; one time in four bytes."""
    if random.random() < 0.25 or len(data) < 8:
        return mutate_bytes(data, random)
    (length,) = struct.unpack_from("<Q", data)
    try:
        header = json.loads(data[8 : 8 + length])
        inner = header.get("__metadata__", {}).get("janus")
    except (ValueError, AttributeError, OverflowError):
        return mutate_bytes(data, random)
    if isinstance(inner, str) and random.random() < 0.7:
        header["__metadata__"]["janus"] = mutate_json(inner.encode(), random).decode(errors="replace")
        text = json.dumps(header).encode()
    else:
        text = mutate_json(data[8 : 8 + length], random)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def join_parts(parts: list[bytes]) -> bytes:
    """Write several files as one."""
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def split_parts(data: bytes) -> list[bytes]:
    """Read what `join_parts` wrote; a damaged end is cut off."""
    parts, at = [], 0
    while at + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        parts.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return parts


def mutate_parts(*inner: Mutate) -> Mutate:
    """Change one of several files that `join_parts` joined, each in its own way."""

    def mutate(data: bytes, random: Random) -> bytes:
        parts = split_parts(data)[: len(inner)]
        if not parts:
            return data
        place = random.randrange(len(parts))
        parts[place] = inner[place](parts[place], random)
        return join_parts(parts)

    return mutate
