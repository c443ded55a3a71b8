"""The page over HTTP: who gets in, what it shows, updates twice a second, and text from devices that stays text."""

import gzip
import http.client
import json
import socket
import threading
import urllib.parse

import pytest
from patience import PATIENCE_S

from janus_vit.cloud.metrics import CloudMetrics, RequestRecord
from janus_vit.cloud.watching.events import EventBuffer
from janus_vit.errors import InputError
from janus_vit.live_page import server as page_server
from janus_vit.live_page.access import Access
from janus_vit.live_page.broadcast import Broadcast, TooManyViewers
from janus_vit.live_page.cloud_feed import CloudFeed
from janus_vit.live_page.feed import COLUMNS
from janus_vit.live_page.server import LivePage
from janus_vit.live_page.synthetic import SyntheticFleet

TOKENS = {"secret": "operator"}
EVIL = '<script>alert("x")</script>'


def ask(page, path="/", method="GET", body=None, **headers):
    """Status, headers and text of an answer; of an endless one, the first event."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=PATIENCE_S)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    streamed = answer.status == 200 and path == "/events"
    text = answer.readline() if streamed else answer.read()
    if answer.headers["content-encoding"] != "gzip":
        text = text.decode()
    connection.close()
    return answer.status, dict(answer.headers.items()), text


def first_update(page, **headers):
    status, _, event = ask(page, "/events", **headers)
    assert status == 200
    return json.loads(event.removeprefix("data: "))


@pytest.fixture
def events():
    return EventBuffer()


@pytest.fixture
def feed(events):
    return CloudFeed(events, CloudMetrics().registry, EVIL)


@pytest.fixture
def page(feed):
    with LivePage(feed, "127.0.0.1:0") as page:
        yield page


@pytest.fixture
def tokens():
    return dict(TOKENS)


@pytest.fixture
def guarded(feed, tokens):
    with LivePage(feed, "127.0.0.1:0", identify=tokens.get) as page:
        yield page


def test_the_page_shows_its_streams_in_every_update(page, events):
    SyntheticFleet(3, events).step()
    update = first_update(page)
    assert len(update["rows"]) == 3
    assert {len(row) for row in update["rows"]} == {len(COLUMNS)}
    assert update["tiles"][0] == 3
    assert set(json.loads(ask(page, "/history")[2])["streams"]) == {"1", "2", "3"}


def test_the_page_needs_nothing_from_other_hosts_and_no_other_page_may_use_it(page):
    status, headers, html = ask(page)
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    for path in ("/page.css", "/page.js", "/charts.js"):
        assert ask(page, path)[0] == 200
        html += ask(page, path)[2]
    assert "http:" not in html
    assert "https:" not in html


def test_text_from_outside_is_never_html(page):
    assert EVIL not in ask(page)[2]


def test_a_foreign_name_that_points_to_this_machine_gets_nothing(page):
    assert ask(page, "/events", Host="evil.example")[0] == 400


def test_links_lead_to_records_and_metrics(page, events):
    events.add(RequestRecord("robot", "answered", 1000, 6))
    first_update(page)
    assert json.loads(ask(page, "/records")[2].splitlines()[0])["device"] == "robot"
    assert "janus_ready" in ask(page, "/metrics")[2]


@pytest.mark.parametrize("path", ["/history", "/events", "/records", "/metrics"])
def test_without_a_token_there_is_no_data(guarded, path):
    assert ask(guarded, path)[0] == 401
    assert ask(guarded, path, Authorization="Bearer wrong")[0] == 401
    assert ask(guarded, path, Cookie=f"janus-page-{guarded.port}=guess")[0] == 401
    assert ask(guarded, path, Authorization="Bearer secret")[0] == 200


def test_a_browser_gives_its_token_once(guarded):
    assert "password" in ask(guarded)[2]
    form = urllib.parse.urlencode({"token": "secret"})
    status, headers, _ = ask(guarded, "/token", "POST", form)
    cookie = headers["set-cookie"]
    assert (status, headers["location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "secret" not in cookie
    assert first_update(guarded, Cookie=cookie.split(";")[0])["rows"] == []


def test_a_token_in_the_address_is_taken_out_of_it(guarded):
    status, headers, _ = ask(guarded, "/?token=secret")
    assert (status, headers["location"]) == (303, "/")
    assert ask(guarded, "/?token=wrong")[0] == 401


def test_a_revoked_token_ends_its_sessions(guarded, tokens):
    cookie = ask(guarded, "/?token=secret")[1]["set-cookie"].split(";")[0]
    assert ask(guarded, "/history", Cookie=cookie)[0] == 200
    tokens.clear()
    assert ask(guarded, "/history", Cookie=cookie)[0] == 401


def test_a_form_that_is_too_large_is_refused(guarded):
    assert ask(guarded, "/token", "POST", b"token=" + bytes(10_000))[0] == 413


def test_a_form_that_never_arrives_is_no_traceback(guarded, caplog):
    with socket.create_connection(("127.0.0.1", guarded.port), 10) as browser:
        browser.sendall(b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        browser.shutdown(socket.SHUT_WR)
        assert browser.recv(1) == b""
    assert ask(guarded)[0] == 401  # the page has seen the end of the other request
    assert not caplog.records


def test_answers_are_compressed_for_those_who_can_read_them(page):
    plain, zipped = (ask(page, "/history", Accept_Encoding=encoding) for encoding in ("identity", "gzip"))
    assert gzip.decompress(zipped[2]) == plain[2].encode()


def test_one_token_that_asks_without_pause_is_refused_alone(guarded, tokens, monkeypatch):
    monkeypatch.setattr("janus_vit.live_page.broadcast.PERIOD_S", 60)
    tokens["other"] = "other operator"
    statuses = [
        ask(guarded, path, Authorization="Bearer secret")[0] for path in ("/history", "/records", "/metrics") * 6
    ]
    assert 429 in statuses
    assert ask(guarded, "/history", Authorization="Bearer other")[0] == 200


def test_sessions_of_a_token_are_bounded_and_its_oldest_makes_room():
    access = Access({"secret": "operator", "robot": "robot"}.get, "127.0.0.1", 80)
    operator = access.open_session("secret")
    first, *later = [access.open_session("robot") for _ in range(300)]
    admitted = [session for session in later if access.admits({}, {access.cookie: session})]
    assert admitted == later[-32:]
    assert not access.admits({}, {access.cookie: first})
    assert access.admits({}, {access.cookie: operator})
    assert access.open_session("x" * 600) is None


def test_sessions_of_all_tokens_are_bounded():
    access = Access(str, "127.0.0.1", 80)
    first, *_, last = [access.open_session(f"token {number}") for number in range(4_097)]
    assert [access.admits({}, {access.cookie: session}) for session in (first, last)] == [False, True]


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost"])
def test_the_host_of_the_page_is_a_name_for_it(feed, host):
    with LivePage(feed, f"{host}:0") as page:
        connection = http.client.HTTPConnection(host, page.port, timeout=PATIENCE_S)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


def test_more_browsers_than_the_page_serves_get_a_sentence(page, monkeypatch):
    monkeypatch.setattr("janus_vit.live_page.broadcast._VIEWERS", 0)
    assert ask(page, "/events")[0] == 503


def test_browsers_of_one_token_leave_room_for_those_of_others(feed):
    broadcast = Broadcast(feed)
    for _ in range(16):
        broadcast.join("robot")
    with pytest.raises(TooManyViewers):
        broadcast.join("robot")
    broadcast.join("operator")


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "192.0.2.1:80", "example.com:80", "127.0.0.1:x", "127.0.0.1:99999"])
def test_a_page_that_would_be_open_to_other_machines_or_cannot_listen_is_one_sentence(feed, listen):
    with pytest.raises(InputError, match="--page"):
        LivePage(feed, listen)


def test_tokens_do_not_cross_a_network_in_clear_text(feed):
    with pytest.raises(InputError, match="in clear text: add --cert"):
        LivePage(feed, "0.0.0.0:0", identify=TOKENS.get)


def test_a_taken_port_is_one_sentence(feed, page):
    with pytest.raises(InputError, match="free port"):
        LivePage(feed, f"127.0.0.1:{page.port}")


def test_without_its_packages_the_page_names_the_extra(feed, monkeypatch):
    monkeypatch.setattr(page_server, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"janus-vit\[page\]"):
        LivePage(feed, "127.0.0.1:0")


def test_a_page_whose_updates_fail_starts_again(feed, monkeypatch, caplog):
    monkeypatch.setattr(page_server, "_PAUSE_S", 0.0)
    update, failures, again = feed.update, [ValueError("a bug")], threading.Event()

    def fail_once(now_s):
        if failures:
            raise failures.pop()
        again.set()
        return update(now_s)

    monkeypatch.setattr(feed, "update", fail_once)
    with LivePage(feed, "127.0.0.1:0") as page:
        assert again.wait(PATIENCE_S)
        assert first_update(page)["tiles"]
    assert [record.getMessage() for record in caplog.records] == [
        "the live page failed (ValueError: a bug): it starts again"
    ]
