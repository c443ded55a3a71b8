"""Tells when a connection to the cloud is there again: gRPC notices that long before the next handshake is due."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc


class Returns:
    """Watches a channel.

    Args:
        channel: of gRPC.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    @contextmanager
    def watched(self, on_change: Callable[[], None]) -> Iterator[None]:
        """Watch until the end of the `with` block.

        Args:
            on_change: called in a thread of gRPC each time a connection is there, or is lost. A call should follow:
                after one that finds no connection, gRPC tries to connect every two seconds, before that not at all.
        """
        last: grpc.ChannelConnectivity | None = None

        def changed(state: grpc.ChannelConnectivity) -> None:
            nonlocal last
            if last is not None and state in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE):
                on_change()
            last = state

        self._channel.subscribe(changed)
        try:
            yield
        finally:
            self._channel.unsubscribe(changed)
