"""A gRPC server that takes calls of any method name. gRPC's own one ends when a name is no UTF-8, for all its clients.

gRPC's server of asyncio decodes the names of methods that nobody registered, in its only loop (grpcio 1.85,
`AioServer._server_main_loop`). So all methods are registered here, and the calls of all others come to one of them, as
if it had been called.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from grpc._cython import cygrpc

_OTHERS = f"/{secrets.token_hex(16)}/others".encode()  # nobody can call it by its name


class _AnyNames(cygrpc.AioServer):  # type: ignore[misc] # gRPC is not typed
    """The server below `grpc.aio.Server`."""

    async def _request_registered_call(self, method: bytes) -> Any:
        if method == _OTHERS:
            return await super()._request_call()
        return await super()._request_registered_call(method)

    async def _request_call(self) -> Any:
        await asyncio.get_running_loop().create_future()  # never: these calls come as those of _OTHERS


def serve_methods(handlers: Mapping[str, Any], others: Any, options: Sequence[tuple[str, int]]) -> Any:
    """Make a server of asyncio, which is not started yet.

    Args:
        handlers: of each method, by its full name, such as "/janus.v1.Janus/Infer".
        others: handler of the calls of any other method, whatever its name is.
        options: of gRPC.
    """
    own = cygrpc.AioServer
    cygrpc.AioServer = _AnyNames  # which `grpc.aio.server` looks up
    try:
        server = grpc.aio.server(options=options)
    finally:
        cygrpc.AioServer = own
    for name, handler in (*handlers.items(), (_OTHERS.decode(), others)):
        service, _, method = name[1:].partition("/")
        server.add_registered_method_handlers(service, {method: handler})
    return server
