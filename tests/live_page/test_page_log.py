"""What strangers write into the log of a page: a line once in ten seconds, however much they send."""

import logging
import socket

import pytest

from janus_vit.cloud.metrics import CloudMetrics
from janus_vit.cloud.watching.events import EventBuffer
from janus_vit.live_page.cloud_feed import CloudFeed
from janus_vit.live_page.seldom import Seldom
from janus_vit.live_page.server import LivePage

UPGRADE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(clock, caplog):
    made = logging.Logger("strangers")
    made.addFilter(Seldom(clock))
    made.addHandler(caplog.handler)
    return made


def test_a_message_is_written_once_in_ten_seconds_with_the_number_of_those_left_out(log, clock, caplog):
    for clock.now_s in (0.0, 0.1, 9.9, 10.0, 10.1, 30.0, 50.0):
        log.warning("garbage")
    more = "garbage ({} more like this since the last line)"
    assert caplog.messages == ["garbage", more.format(2), more.format(1), "garbage"]


def test_each_message_counts_for_itself_whatever_its_arguments(log, caplog):
    for number in range(3):
        log.warning("garbage %d", number)
        log.error("failure")
    assert caplog.messages == ["garbage 0", "failure"]


@pytest.mark.parametrize("sent", [b"GARBAGE\r\n\r\n", UPGRADE])
def test_requests_that_a_page_does_not_take_fill_no_log(caplog, sent):
    feed = CloudFeed(EventBuffer(), CloudMetrics().registry, "page")
    with LivePage(feed, "127.0.0.1:0") as page:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", page.port), 10) as stranger:
                stranger.sendall(sent)
                while stranger.recv(65_536):
                    pass
    assert len(caplog.messages) == len(set(caplog.messages)) <= 2
