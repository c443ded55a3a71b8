"""What an ingest process and the engine's process tell each other, and the connection that carries it."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeAlias

from janus_vit.cloud.backend import Finished
from janus_vit.cloud.metrics import RequestRecord
from janus_vit.cloud.processes.shared_frames import FrameRef
from janus_vit.scheduling.job import Job
from janus_vit.scheduling.scheduler import Load
from janus_vit.tracing.request_spans import RequestTrace
from janus_vit.wire.stream_report import StreamReport


@dataclass(frozen=True, slots=True)
class Submit:
    """Compute this job; `ref` says where its frame is."""

    job: Job
    ref: FrameRef


@dataclass(frozen=True, slots=True)
class Cancel:
    """Drop this job."""

    job_id: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job has ended, and its slot is free."""

    job_id: int
    finished: Finished


@dataclass(frozen=True, slots=True)
class AskLoad:
    """Report the load."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The load of the cloud."""

    load: Load


@dataclass(frozen=True, slots=True)
class Drain:
    """Refuse new requests."""


Record: TypeAlias = RequestRecord | StreamReport | RequestTrace
Message: TypeAlias = Submit | Cancel | JobEnded | AskLoad | LoadReport | Drain | Record


class Pipe:
    """A connection that several threads may send through, and one reads.

    Only the thread that reads closes it, when nobody sends: another connection may get the number of a closed one, and
    would lose bytes to whoever still reads there.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending, self._ending = threading.Lock(), threading.Lock()

    def send(self, message: Message) -> None:
        """Send a message. Drop it if the other process has ended."""
        with self._sending:
            try:
                self._connection.send(message)
            except (OSError, ValueError):
                return

    def receive(self) -> Message | None:
        """Wait for a message; None when the other process has ended."""
        try:
            message: Message = self._connection.recv()
        except (EOFError, OSError):
            return None
        return message

    def end(self) -> None:
        """Let threads that wait in `receive` or `send` at either end return."""
        with self._ending, suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as both:
            both.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close this end; called by the thread that reads."""
        self.end()
        with self._sending, self._ending:
            self._connection.close()
