"""A cloud that ends its connections by HTTP/2 costs a device one frame at a time, and no more."""

import socket
import threading
from contextlib import suppress

import pytest
from cloud_requests import image_request
from patience import PATIENCE_S

from janus_vit.errors import Unreachable
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.wire.answer_check import Outputs


def end_each_at_once(listening, connections):
    """Take connections and end them by HTTP/2: settings, and a GOAWAY that admits no call."""
    with suppress(OSError):
        while True:
            connections.append(listening.accept()[0])
            with suppress(OSError):
                connections[-1].sendall(b"\0\0\0\4" + bytes(5) + b"\0\0\x08\7" + bytes(13))


def test_a_cloud_that_ends_every_connection_at_once_gets_no_storm_of_them(model):
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taking = threading.Thread(target=end_each_at_once, args=(listening, connections))
        taking.start()
        transport = GrpcTransport(f"127.0.0.1:{listening.getsockname()[1]}", Outputs(7))
        for _ in range(3):
            with pytest.raises(Unreachable):
                transport.infer(image_request(model), PATIENCE_S)
        transport.close()
        listening.shutdown(socket.SHUT_RDWR)
        taking.join()
    for connection in connections:
        connection.close()
    assert len(connections) < 60
