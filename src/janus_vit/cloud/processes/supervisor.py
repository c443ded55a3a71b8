"""Keeps one ingest process serving: replaces it when it ends, and tries again until that succeeds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

from janus_vit.cloud.processes.remote import RemoteSession
from janus_vit.errors import JanusError, described

_LOG = logging.getLogger("janus_vit.cloud")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0  # before a process that could not start is started again


@dataclass(frozen=True, slots=True)
class Member:
    """An ingest process that serves, and the session that connects it."""

    process: BaseProcess
    session: RemoteSession


class Supervisor:
    """Replaces a process in a thread of its own, until the pool is closed.

    Args:
        index: number of the process.
        start: starts a process and waits until it serves.
        closed: set when processes are no longer replaced.

    Attributes:
        member: the process that serves now; None while there is none.
        failure: why its thread has ended by itself; None if it has not.

    Raises:
        JanusError: the first process could not start.
    """

    def __init__(self, index: int, start: Callable[[int], Member], closed: threading.Event) -> None:
        self._index = index
        self._start = start
        self._closed = closed
        self.failure: str | None = None
        self.member: Member | None = start(index)
        self._thread = threading.Thread(target=self._run, name=f"janus-supervisor-{index}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._replace()
        except BaseException as error:
            _LOG.critical("the supervisor of ingest process %d failed", self._index, exc_info=error)
            self.failure = f"nobody replaces ingest process {self._index} any more ({described(error)})"

    def _replace(self) -> None:
        while (member := self.member) is not None:
            member.process.join()
            if self._closed.is_set():
                return
            self.member = None
            _LOG.error("ingest process %d ended with code %s: starting another", self._index, member.process.exitcode)
            self.member = self._replacement()

    def _replacement(self) -> Member | None:
        """Start another process; None once the pool is closed."""
        pause_s = _FIRST_PAUSE_S
        while not self._closed.is_set():
            member = self._started(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
            if member is not None and self._closed.is_set():
                member.process.terminate()
            elif member is not None:
                return member
        return None

    def _started(self, pause_s: float) -> Member | None:
        """Start a process. If that fails, say why, wait and return None."""
        try:
            return self._start(self._index)
        except Exception as error:
            reason = str(error) if isinstance(error, JanusError) else described(error)
            _LOG.error("ingest process %d cannot start: %s; next try in %g s", self._index, reason, pause_s)
            self._closed.wait(pause_s)
            return None
