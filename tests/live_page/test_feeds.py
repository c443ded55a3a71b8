"""What the page shows, from plain events: shares of the last two minutes, bounds, restarts and silence."""

import dataclasses

import pytest

from janus_vit.cloud.metrics import CloudMetrics, RequestRecord
from janus_vit.cloud.watching.events import BatchRan, EventBuffer
from janus_vit.live_page.cloud_feed import CloudFeed
from janus_vit.live_page.device_feed import DeviceFeed
from janus_vit.live_page.feed import COLUMNS
from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction
from janus_vit.planning.plan import Plan
from janus_vit.wire.stream_report import StreamReport

FIRST = StreamReport("robot", "level 0.10, split 0, jpeg90", 0.3, 12.0, 10, 10, 0, 0, 10, 0, 10, 8.7, 1.0)
SECOND = dataclasses.replace(
    FIRST,
    frames=20,
    in_time=18,
    fallbacks=1,
    refusals=1,
    images=12,
    tokens=8,
    rated=20,
    expected_right=15.3,
    latency_s=4.0,
)
PREDICTED = Prediction(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, rate_mbps=5.0, accuracy=0.8)
PLAN = Plan("exponential", 0.1, (1, 1), 0, "jpeg90")


@pytest.fixture
def events():
    return EventBuffer()


@pytest.fixture
def feed(events):
    return CloudFeed(events, CloudMetrics().registry, "small")


def tile(feed, update, label):
    return dict(zip((tile.label for tile in feed.tiles), update.tiles, strict=True))[label]


def row(update, index=0):
    return dict(zip(COLUMNS, update.rows[index], strict=True))


def test_a_stream_shows_what_its_device_reports(feed, events):
    events.add(FIRST)
    feed.update(0.0)
    events.add(SECOND)
    update = feed.update(0.5)
    seen = row(update)
    assert (seen["name"], seen["plan"], seen["sla_ms"], seen["mbps"]) == ("robot", FIRST.plan, 300, 12)
    assert (seen["in_time"], seen["expected"], seen["late"]) == (0.8, 0.66, 0.2)
    assert (seen["latency_ms"], seen["sent"], seen["frames_per_s"]) == (300, 2, 20)
    assert (seen["fallbacks"], seen["refusals"]) == (1, 1)
    assert (tile(feed, update, "In time"), tile(feed, update, "Devices")) == (0.8, 1)
    assert [len(points) for points in feed.points().values()] == [2]


def test_between_reports_the_charts_have_a_gap_and_the_shares_stay(feed, events):
    for number, event in enumerate((FIRST, SECOND)):
        events.add(event)
        feed.update(number / 2)
    seen = row(feed.update(1.0))
    assert (seen["latency_ms"], seen["mbps"], seen["in_time"]) == (None, None, 0.8)


def test_a_device_that_starts_again_counts_from_zero(feed, events):
    for number, event in enumerate((SECOND, FIRST, SECOND)):
        events.add(event)
        update = feed.update(number / 2)
    assert row(update)["in_time"] == 0.8


def test_the_engine_shows_how_busy_it_is_and_how_large_its_batches_are(feed, events):
    for _ in range(2):
        events.add(BatchRan(3, 0.1, 0.02, 5))
        events.add(BatchRan(5, 0.1, 0.02, 5))
        events.add(RequestRecord("robot", "refused", 100))
        update = feed.update(0.0)
    assert tile(feed, update, "Engine busy") == 0.4
    assert tile(feed, update, "Batch size") == 4
    assert tile(feed, update, "Requests") == 2
    assert tile(feed, update, "Refused") == 2
    assert tile(feed, update, "Expected wait") == 20


def test_a_client_that_reports_nothing_shows_its_requests(feed, events):
    feed.update(0.0)
    events.add(RequestRecord("stranger", "answered", 100))
    feed.update(0.5)
    events.add(RequestRecord("stranger", "answered", 100))
    seen = row(feed.update(1.0))
    assert (seen["plan"], seen["in_time"], seen["requests_per_s"]) == (None, None, 2)


def test_ever_new_names_neither_fill_the_page_nor_drive_devices_from_it(feed, events):
    events.add(FIRST)
    for number in range(1_000):
        events.add(RequestRecord(f"name {number}", "answered", 1))
    update = feed.update(0.0)
    assert len(update.rows) == 256
    assert update.unlisted == 1_000 - 255
    assert row(update)["name"] == "robot"
    assert len(list(feed.records())) == 1_000


def test_a_silent_stream_counts_no_longer_and_leaves_after_two_minutes(feed, events):
    events.add(FIRST)
    feed.update(0.0)
    update = feed.update(60.0)
    assert (row(update)["silent_s"], tile(feed, update, "Devices")) == (60, 0)
    assert feed.update(121.0).rows == []


def test_a_device_shows_its_own_frames_and_keeps_their_records():
    feed = DeviceFeed("robot", "small", ("zero", "one"))
    assert feed.update(0.0).rows == ()
    for number, total_s in enumerate((0.1, 0.2, 0.4)):
        answer = Answer((1,), (0.9,))
        feed.add(Outcome(number, 0.0, 0.3, PLAN, PREDICTED, Measured(total_s=total_s), 100, answer, None, ()), "a.png")
        update = feed.update(number / 2)
    assert (tile(feed, update, "In time"), tile(feed, update, "Latency")) == (0.5, 400)
    assert [record["answer"]["label"] for record in feed.records()] == ["one"] * 3
