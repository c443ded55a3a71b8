"""HTTP of a live page, with a time limit for everything that a browser has to do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from janus_vit.live_page.seldom import Seldom

_REQUEST_S = 10.0  # from the connection or the last answer until the next request is complete, with its body
_ANSWER_S = 60.0  # for a browser to take what waits for it
_INCOMPLETE = (h11.IDLE, h11.SEND_BODY, h11.ERROR)
_LOG = logging.getLogger("janus_vit.live_page")
_LOG.addFilter(Seldom())  # anybody who sends no HTTP causes a line


class PromptProtocol(H11Protocol):
    """Cuts a connection whose next request is not complete in time, or whose browser does not take its answers.

    An answer may go on for ever, as that of server-sent events does.

    Args:
        server: the server.
        on_lost: called once, when the connection is lost.
        on_answered: called after each answer; returns how long to wait for the next request, in seconds.
    """

    def __init__(self, server: uvicorn.Server, on_lost: Callable[[], None], on_answered: Callable[[], float]) -> None:
        super().__init__(server.config, server.server_state, app_state={})
        self.logger = _LOG
        self._on_lost, self._on_answered = on_lost, on_answered
        self._request_due: asyncio.TimerHandle | None = None
        self._reading_due: asyncio.TimerHandle | None = None
        self._resting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._expect_request(_REQUEST_S)

    def handle_events(self) -> None:
        """Take in what has arrived."""
        super().handle_events()
        if self.conn.their_state not in _INCOMPLETE:
            _cancel(self._request_due)

    def on_response_complete(self) -> None:
        """Take the next request, after a while if this address asks too often."""
        rest_s = self._on_answered()
        if rest_s:
            self._resting = self.loop.call_later(rest_s, self._take_next)
        else:
            self._take_next()

    def pause_writing(self) -> None:
        """Begin to wait for a browser that does not read."""
        super().pause_writing()
        self._reading_due = self.loop.call_later(_ANSWER_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The browser reads again."""
        super().resume_writing()
        _cancel(self._reading_due)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        _cancel(self._request_due)
        _cancel(self._reading_due)
        _cancel(self._resting)
        super().connection_lost(exc)
        self._on_lost()

    def _take_next(self) -> None:
        self._expect_request(_ANSWER_S if self.transport.get_write_buffer_size() else _REQUEST_S)
        super().on_response_complete()

    def _expect_request(self, within_s: float) -> None:
        _cancel(self._request_due)
        self._request_due = self.loop.call_later(within_s, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
