"""Bytes over an emulated link, on real loopback sockets.

Times are asserted only from below: nothing may arrive before the trace allows. How late is the machine's affair.
"""

from __future__ import annotations

import contextlib
import queue
import random
import socket
import threading

import pytest
from link_sockets import (
    FAST,
    RESET_ON_CLOSE,
    TIMEOUT_S,
    backend,
    connect,
    echo,
    exchange,
    read_all,
    reply_done,
    swallow,
    trace_of,
)

from janus_vit.errors import InputError
from janus_vit.links.emulator import EmulatedLink, LinkSpec

# ---------------------------------------------------------------- bytes


@pytest.mark.parametrize("size_bytes", [0, 1, 1499, 100_000, 3_000_000])
def test_bytes_come_back_whole_and_in_order(size_bytes: int) -> None:
    payload = random.Random(size_bytes).randbytes(size_bytes)
    with backend(echo) as address, EmulatedLink(FAST, *address) as link, connect(link) as client:
        assert exchange(client, payload) == payload


def test_an_unshaped_way_back_carries_everything_too() -> None:
    payload = random.Random(1).randbytes(2_000_000)
    spec = LinkSpec(trace_of(400), delay_s=0.01)
    with backend(echo) as address, EmulatedLink(spec, *address) as link, connect(link) as client:
        assert exchange(client, payload) == payload


def test_the_smallest_queue_and_a_restless_trace_lose_nothing() -> None:
    payload = random.Random(2).randbytes(300_000)
    restless = trace_of(100, 0, 3, 0, 500, 0.2, interval_s=0.01)
    spec = LinkSpec(restless, restless, delay_s=0.005, queue_bytes=3000)
    with backend(echo) as address, EmulatedLink(spec, *address) as link, connect(link) as client:
        assert exchange(client, payload) == payload


def test_many_connections_do_not_mix_their_bytes() -> None:
    payloads = [random.Random(seed).randbytes(100_000) for seed in range(8)]
    replies: dict[int, bytes] = {}
    with backend(echo) as address, EmulatedLink(FAST, *address) as link:

        def talk(index: int) -> None:
            with connect(link) as client:
                replies[index] = exchange(client, payloads[index])

        threads = [threading.Thread(target=talk, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [replies[index] for index in range(8)] == payloads


# ---------------------------------------------------------------- time


def test_a_byte_takes_at_least_the_delay_each_way() -> None:
    spec = LinkSpec(trace_of(100), delay_s=0.06)
    with backend(echo) as address, EmulatedLink(spec, *address) as link, connect(link) as client:
        sent_s = link.elapsed_s
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert link.elapsed_s - sent_s >= 0.12


def test_a_transfer_takes_at_least_as_long_as_the_trace_says() -> None:
    spec = LinkSpec(trace_of(8))
    with backend(reply_done) as address, EmulatedLink(spec, *address) as link, connect(link) as client:
        sent_s = link.elapsed_s
        exchange(client, bytes(500_000))
        assert link.elapsed_s - sent_s >= 0.5


def test_the_way_back_is_shaped_by_its_own_trace() -> None:
    def give(connection: socket.socket) -> None:
        connection.sendall(bytes(400_000))

    spec = LinkSpec(up=trace_of(400), down=trace_of(8))
    with backend(give) as address, EmulatedLink(spec, *address) as link:
        sent_s = link.elapsed_s
        with connect(link) as client:
            assert len(read_all(client)) == 400_000
        assert link.elapsed_s - sent_s >= 0.4


def test_an_outage_stalls_a_transfer_and_then_it_goes_on() -> None:
    trace = trace_of(8, 0, 0, 0, 8, interval_s=0.2)
    with backend(reply_done) as address, EmulatedLink(LinkSpec(trace), *address) as link, connect(link) as client:
        sent_s = link.elapsed_s
        assert exchange(client, bytes(300_000)) == b"!"
        assert link.elapsed_s >= trace.finish_time(sent_s, 300_000)


def test_two_connections_share_one_rate() -> None:
    with backend(reply_done) as address, EmulatedLink(LinkSpec(trace_of(8)), *address) as link:
        sent_s = link.elapsed_s
        with connect(link) as first, connect(link) as second:
            for client in (first, second):
                client.sendall(bytes(250_000))
                client.shutdown(socket.SHUT_WR)
            assert [first.recv(1), second.recv(1)] == [b"!", b"!"]
        assert link.elapsed_s - sent_s >= 0.5


def test_at_no_moment_has_more_arrived_than_the_trace_allows() -> None:
    trace = trace_of(2, 30, 0.5, 0, 10, interval_s=0.1)
    arrivals: list[tuple[float, int]] = []
    with contextlib.ExitStack() as stack:

        def record(connection: socket.socket) -> None:
            total = 0
            while data := connection.recv(1 << 16):
                total += len(data)
                arrivals.append((link.elapsed_s, total))
            connection.sendall(b"!")

        link = stack.enter_context(
            EmulatedLink(LinkSpec(trace), *stack.enter_context(backend(record))),
        )
        client = stack.enter_context(connect(link))
        sent_s = link.elapsed_s
        assert exchange(client, bytes(500_000)) == b"!"
    assert arrivals[-1][1] == 500_000
    assert [a for a in arrivals if 8 * a[1] > trace.bits_between(sent_s, a[0]) + 0.01] == []


def test_a_sender_cannot_run_far_ahead_of_a_slow_link() -> None:
    spec = LinkSpec(trace_of(0.01), queue_bytes=50_000)
    with (
        backend(swallow) as address,
        EmulatedLink(spec, *address) as link,
        connect(link, send_buffer_bytes=16_384) as client,
    ):
        pushed_bytes = 0
        with contextlib.suppress(TimeoutError):
            while pushed_bytes < 10_000_000:
                client.settimeout(0.5 if pushed_bytes >= 50_000 else TIMEOUT_S)
                pushed_bytes += client.send(bytes(1000))
        assert 50_000 <= pushed_bytes < 1_000_000


def test_a_backend_that_does_not_read_holds_the_sender_back() -> None:
    release = threading.Event()

    def sleep(connection: socket.socket) -> None:
        release.wait(TIMEOUT_S)

    with (
        backend(sleep) as address,
        EmulatedLink(FAST, *address) as link,
        connect(link, send_buffer_bytes=16_384) as client,
    ):
        client.settimeout(0.5)
        pushed_bytes = 0
        with contextlib.suppress(TimeoutError):
            while pushed_bytes < 50_000_000:
                pushed_bytes += client.send(bytes(10_000))
        release.set()
    assert pushed_bytes < 20_000_000


# ---------------------------------------------------------------- ends


def test_a_client_that_ends_its_stream_still_gets_the_reply() -> None:
    with backend(reply_done) as address, EmulatedLink(FAST, *address) as link, connect(link) as client:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"!"


def test_a_server_that_ends_its_stream_still_hears_the_client() -> None:
    heard: queue.Queue[bytes] = queue.Queue()

    def greet(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        heard.put(read_all(connection))

    with backend(greet) as address, EmulatedLink(FAST, *address) as link, connect(link) as client:
        assert read_all(client) == b"hello"
        client.sendall(b"and goodbye")
        client.close()
        assert heard.get(timeout=TIMEOUT_S) == b"and goodbye"


def test_an_abort_by_the_client_reaches_the_server() -> None:
    ends: queue.Queue[str] = queue.Queue()

    def serve(connection: socket.socket) -> None:
        try:
            ends.put(f"{len(read_all(connection))} bytes")
        except ConnectionResetError:
            ends.put("reset")

    with backend(serve) as address, EmulatedLink(FAST, *address) as link:
        with connect(link) as client:
            client.sendall(b"half a req")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        assert ends.get(timeout=TIMEOUT_S) == "reset"


def test_an_abort_by_the_server_reaches_the_client_behind_the_data() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"half a rep")
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    with backend(serve) as address, EmulatedLink(FAST, *address) as link, connect(link) as client:
        assert client.recv(100) == b"half a rep"
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_client_that_keeps_sending_learns_that_the_server_left() -> None:
    def leave(connection: socket.socket) -> None:
        connection.sendall(b"bye")

    with backend(leave) as address, EmulatedLink(FAST, *address) as link, connect(link) as client:
        assert read_all(client) == b"bye"
        with pytest.raises(ConnectionError):
            client.sendall(bytes(100_000_000))


def test_a_connection_is_closed_at_once_when_the_backend_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = nobody.getsockname()
    with EmulatedLink(FAST, *address) as link, connect(link) as client:
        assert client.recv(1) == b""


def test_stopping_ends_connections_and_listening_and_may_be_repeated() -> None:
    with backend(swallow) as address:
        link = EmulatedLink(LinkSpec(trace_of(0.01)), *address)
        with connect(link) as client:
            client.sendall(bytes(10_000))
            link.stop()
            link.stop()
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
        with pytest.raises(ConnectionRefusedError), connect(link):
            pass


def test_a_link_may_be_stopped_before_it_ever_ran() -> None:
    for _ in range(20):
        EmulatedLink(FAST, "127.0.0.1", 1).stop()


# ---------------------------------------------------------------- what the user gives and sees


def test_the_rate_for_display_is_the_trace_at_the_elapsed_time() -> None:
    with EmulatedLink(LinkSpec(trace_of(7)), "127.0.0.1", 1) as link:
        assert link.rate_mbps() == 7
        assert link.elapsed_s > 0
        assert link.address == f"127.0.0.1:{link.port}"


def test_a_port_that_is_taken_or_impossible_is_refused() -> None:
    with EmulatedLink(FAST, "127.0.0.1", 1) as link:
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{link.port}"):
            EmulatedLink(FAST, "127.0.0.1", 1, listen_port=link.port)
        with pytest.raises(InputError, match="cannot listen"):
            EmulatedLink(FAST, "127.0.0.1", 1, listen_port=70_000)


@pytest.mark.parametrize("delay_s", [-0.1, float("nan"), float("inf")])
def test_an_impossible_delay_is_refused(delay_s: float) -> None:
    with pytest.raises(InputError, match="delay_s"):
        LinkSpec(trace_of(1), delay_s=delay_s)


def test_a_queue_of_less_than_two_packets_is_refused() -> None:
    with pytest.raises(InputError, match="queue_bytes"):
        LinkSpec(trace_of(1), queue_bytes=2999)
