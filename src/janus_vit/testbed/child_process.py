"""A process of a live run: start it, exchange messages with it, stop it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from janus_vit.errors import JanusError, Unreachable

_STOP_TIMEOUT_S = 5.0


class ChildProcess:
    """Runs a function in a new process until its pipe is closed.

    The function gets its end of the pipe, and should return when `recv` raises EOFError. So it ends, too, if this
    process is killed. Ctrl-C reaches this process alone, which then stops the other one. Large arguments have to be
    sent as a message: a process that dies before it has read the arguments of its start would block this one for ever.

    Args:
        name: for error messages.
        target: a function of a module.
    """

    def __init__(self, name: str, target: Callable[[Connection], None]) -> None:
        self._name = name
        context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs,), daemon=True)
        with _interrupts_ignored():
            self._process.start()
        theirs.close()

    @property
    def process_id(self) -> int:
        """Of the process, for signals."""
        assert self._process.pid is not None
        return self._process.pid

    def send(self, message: object) -> None:
        """Send a message.

        Raises:
            Unreachable: the process has ended.
        """
        try:
            self._pipe.send(message)
        except OSError as error:
            raise Unreachable(f"{self._name} has stopped") from error

    def receive(self, timeout_s: float) -> Any:
        """Wait for a message.

        Raises:
            JanusError: the process sent it instead.
            Unreachable: the process has ended, or sent nothing in time.
        """
        try:
            if not self._pipe.poll(timeout_s):
                raise Unreachable(f"{self._name} did not answer within {timeout_s:g} s")
            message = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise Unreachable(f"{self._name} has stopped") from error
        if isinstance(message, JanusError):
            raise message
        return message

    def close(self) -> None:
        """Stop the process. A second call does nothing."""
        self._pipe.close()
        self._process.join(timeout=_STOP_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C for a moment: a process that starts now ignores it for good."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def serve_until_closed(pipe: Connection, answer: Callable[[Any], object]) -> None:
    """Answer messages of the other process until it closes the pipe."""
    with suppress(EOFError, OSError):
        while True:
            pipe.send(answer(pipe.recv()))
