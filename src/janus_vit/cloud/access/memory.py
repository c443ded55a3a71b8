"""From the memory of a cloud to the limits of each process that serves it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from janus_vit.cloud.access.limits import Limits
from janus_vit.cloud.access.roster import ConnectionLimits
from janus_vit.scheduling.config import CloudConfig
from janus_vit.wire.messages import HEADER_BYTES

UNREAD_BYTES = 131_072  # that a stream may send before its call is admitted
_LEAST_CONNECTIONS, _LEAST_REQUESTS = 64, 8  # below these a cloud is of no use
_CLIENTS_THAT_FILL_IT = 8
_MOST_CHECKS, _CHECKS_PER_CLIENT = 64, 4  # health checks that are open at once
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def limits_of(config: CloudConfig, largest_body_bytes: int) -> tuple[Limits, ConnectionLimits]:
    """Limits of each process. Half of the memory is for bytes that nobody has asked for yet, half for admitted calls.

    Args:
        config: limits of the cloud.
        largest_body_bytes: largest body of a request, and about the size of its decoded frame.
    """
    processes = max(1, config.ingest_processes)
    half_bytes = (config.memory_bytes or machine_memory_bytes() // 4) // (2 * processes)
    connections = half_bytes // (config.calls_per_client * UNREAD_BYTES)
    request_bytes = 3 * largest_body_bytes  # a message, its copy while it is parsed, and the decoded frame
    memory_bytes = max(half_bytes, _LEAST_REQUESTS * request_bytes)
    return (
        Limits(
            calls=config.calls_at_once,
            calls_per_client=config.calls_per_client,
            calls_per_s=config.calls_per_s_per_client,
            memory_bytes=memory_bytes,
            memory_per_client_bytes=max(memory_bytes // _CLIENTS_THAT_FILL_IT, 2 * request_bytes),
        ),
        ConnectionLimits(
            total=min(config.connections_at_once, max(connections, _LEAST_CONNECTIONS)),
            per_client=config.connections_per_client,
        ),
    )


def limits_of_strangers(limits: Limits, largest_body_bytes: int) -> Limits:
    """Limits of health checks, which anybody may ask for: all together use no more memory than one caller.

    Their messages are small. If somebody sends larger ones, the number of open calls bounds what gRPC holds.

    Args:
        limits: limits of the other calls of this process.
        largest_body_bytes: largest body of a request, which gRPC lets in.
    """
    calls = min(_MOST_CHECKS, max(_LEAST_REQUESTS, limits.memory_per_client_bytes // largest_body_bytes))
    return Limits(
        calls=calls,
        calls_per_client=_CHECKS_PER_CLIENT,
        calls_per_s=limits.calls_per_s,
        memory_bytes=2 * HEADER_BYTES * calls,
        memory_per_client_bytes=2 * HEADER_BYTES * _CHECKS_PER_CLIENT,
    )


def machine_memory_bytes() -> int:
    """Memory of this machine, or of the container if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no limit is the word "max"
        return min(machine, int(_CGROUP.read_text("ascii")))
    return machine
