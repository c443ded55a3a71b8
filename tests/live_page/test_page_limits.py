"""Strangers at the page: connections that say nothing, half requests, answers that nobody reads, and floods."""

import http.client
import socket
from contextlib import ExitStack

import pytest
from certificates import Authority
from patience import PATIENCE_S, wait_until

from janus_vit.cloud.metrics import CloudMetrics
from janus_vit.cloud.watching.events import EventBuffer
from janus_vit.live_page.cloud_feed import CloudFeed
from janus_vit.live_page.server import LivePage
from janus_vit.live_page.tls import PageTls

ANSWERED = b"GET /page.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
FORM = b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"


@pytest.fixture
def feed():
    return CloudFeed(EventBuffer(), CloudMetrics().registry, "page")


@pytest.fixture
def sockets():
    with ExitStack() as stack:
        yield stack


def connected(sockets, page, host="127.0.0.1"):
    made = socket.create_connection(("127.0.0.1", page.port), PATIENCE_S, (host, 0))
    return sockets.enter_context(made)


def is_cut(connection):
    """Whether the page ends a connection, after whatever it sends, before our patience does."""
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def sent_until_silent(connection):
    """What the page sends until it sends nothing for a while."""
    connection.settimeout(0.2)
    received = b""
    try:
        while data := connection.recv(65_536):
            received += data
    except TimeoutError:
        return received
    raise AssertionError("the page has closed the connection")


def is_served(page, host="127.0.0.1"):
    browser = http.client.HTTPConnection("127.0.0.1", page.port, PATIENCE_S, (host, 0))
    try:
        browser.request("GET", "/page.css")
        return browser.getresponse().status == 200
    except (http.client.HTTPException, ConnectionError):
        return False
    finally:
        browser.close()


def test_connections_without_a_handshake_are_counted_and_cut(feed, sockets, tmp_path, monkeypatch):
    monkeypatch.setattr("janus_vit.live_page.door._CONNECTIONS", 3)
    monkeypatch.setattr("janus_vit.live_page.door._HANDSHAKE_S", 0.3)
    with LivePage(feed, "127.0.0.1:0", tls=PageTls(*Authority().pair(tmp_path, "page"))) as page:
        for _ in range(2):  # the places are free again after the first three
            silent = [connected(sockets, page) for _ in range(3)]
            above = connected(sockets, page)
            assert is_cut(above)
            assert all(is_cut(each) for each in silent)


def test_one_address_leaves_room_for_others(feed, sockets, monkeypatch):
    monkeypatch.setattr("janus_vit.live_page.door._CONNECTIONS_OF_ADDRESS", 2)
    with LivePage(feed, "127.0.0.1:0") as page:
        held = [connected(sockets, page) for _ in range(2)]
        assert not is_served(page)
        assert is_served(page, "127.0.0.2")
        held[0].close()
        wait_until(lambda: is_served(page), pause_s=0.02)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", FORM, FORM + b"tok", ANSWERED + b"GET / HT", FORM.replace(b"/token", b"/history") + b"tok"],
)
def test_a_request_that_is_not_complete_in_time_is_cut(feed, sockets, monkeypatch, sent):
    monkeypatch.setattr("janus_vit.live_page.protocol._REQUEST_S", 0.2)
    monkeypatch.setattr("janus_vit.live_page.protocol._ANSWER_S", 0.2)
    with LivePage(feed, "127.0.0.1:0", identify={}.get) as page:
        connection = connected(sockets, page)
        connection.sendall(sent)
        assert is_cut(connection)


def watching(sockets, page):
    """A connection that has asked for events."""
    connection = connected(sockets, page)
    connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection


def read_two_events(connection):
    received = b""
    while received.count(b"data: ") < 2:
        received += (data := connection.recv(65_536))
        assert data, "the page has closed the connection"


def test_events_outlast_the_time_of_a_request(feed, sockets, monkeypatch):
    monkeypatch.setattr("janus_vit.live_page.protocol._REQUEST_S", 1.0)
    with LivePage(feed, "127.0.0.1:0") as page:
        read_two_events(watching(sockets, page))


def test_answers_that_nobody_reads_are_not_kept(feed, sockets, monkeypatch):
    monkeypatch.setattr("janus_vit.live_page.door._CONNECTIONS", 1)
    monkeypatch.setattr("janus_vit.live_page.protocol._ANSWER_S", 0.2)
    with LivePage(feed, "127.0.0.1:0") as page:
        deaf = sockets.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.settimeout(PATIENCE_S)
        deaf.connect(("127.0.0.1", page.port))
        deaf.sendall(ANSWERED.replace(b"page.css", b"page.js") * 600)
        wait_until(lambda: is_served(page), pause_s=0.02)


@pytest.fixture
def slow(monkeypatch):
    """A page where each address asks three times, and then no more before the test ends."""
    monkeypatch.setattr("janus_vit.live_page.pace._PER_S", 1e-3)
    monkeypatch.setattr("janus_vit.live_page.pace._AT_ONCE", 3.0)


def test_an_address_that_floods_a_connection_waits_for_its_answers_and_others_do_not(feed, sockets, slow):
    with LivePage(feed, "127.0.0.1:0") as page:
        flood = connected(sockets, page)
        flood.sendall(ANSWERED * 20)
        received = b""
        while received.count(b"HTTP/1.1 200") < 3:  # and one for the connection
            received += flood.recv(65_536)
        assert is_served(page, "127.0.0.2")
        assert b"HTTP/1.1" not in sent_until_silent(flood)


def test_an_address_that_connects_again_and_again_waits_and_others_do_not(feed, sockets, slow):
    with LivePage(feed, "127.0.0.1:0") as page:
        for _ in range(3):
            connected(sockets, page).close()
        flood = connected(sockets, page)
        flood.sendall(ANSWERED)
        assert is_served(page, "127.0.0.2")
        assert sent_until_silent(flood) == b""


def test_events_go_on_while_their_address_waits(feed, sockets, slow):
    with LivePage(feed, "127.0.0.1:0") as page:
        viewer = watching(sockets, page)
        assert viewer.recv(65_536)
        connected(sockets, page).sendall(ANSWERED * 20)
        read_two_events(viewer)


def test_half_a_request_of_an_address_that_waits_is_cut(feed, sockets, monkeypatch):
    monkeypatch.setattr("janus_vit.live_page.pace._AT_ONCE", 0.0)
    monkeypatch.setattr("janus_vit.live_page.protocol._REQUEST_S", 0.2)
    with LivePage(feed, "127.0.0.1:0") as page:
        connection = connected(sockets, page)
        connection.sendall(ANSWERED + b"GET / HT")
        assert is_cut(connection)
