"""Decoding ends when nobody waits for its answer any more."""

import asyncio
import threading
import time
from functools import partial

import numpy as np
import pytest
from patience import PATIENCE_S

from janus_vit.cloud.async_service import AsyncService
from janus_vit.cloud.ingest import Ingest
from janus_vit.cloud.service import CloudService
from janus_vit.cloud.watching.call import Call
from janus_vit.errors import DeadlineExceeded, Overloaded
from janus_vit.planning.payloads import parse_payload
from janus_vit.planning.plan import ModelShape
from janus_vit.wire import clips
from janus_vit.wire.clips import encode_clip
from janus_vit.wire.messages import Greeting, Request, serialise_request

FRAMES, SIDE, FRAME_S = 16, 224, 0.01
SHAPE = ModelShape("video", 4, 1569, 1, 8, (3, FRAMES, SIDE, SIDE))
BODY = encode_clip(np.zeros((FRAMES, SIDE, SIDE, 3), np.uint8), parse_payload("png"))


class Backend:
    """Takes every job that is not late, and answers none."""

    def __init__(self):
        self.submitted, self.cancelled, self.refused = [], [], 0

    def check(self, job):
        if time.perf_counter() > job.deadline_s:
            self.refused += 1
            raise Overloaded("late")

    def submit(self, job, start, on_finished):
        self.submitted.append(job.id)

    def cancel(self, job_id):
        self.cancelled.append(job_id)


@pytest.fixture
def backend():
    return Backend()


class Decoded(list):
    """The frames that were decoded: each takes 10 ms by the clock, and begins when a test lets it go on."""

    def __init__(self):
        self.go_on = threading.Event()
        self.go_on.set()
        self.now_s = 0.0

    def decode(self, decode_image, *args):
        self.append(threading.current_thread().name)
        assert self.go_on.wait(PATIENCE_S)
        self.now_s += FRAME_S
        return decode_image(*args)


@pytest.fixture
def decoded(monkeypatch):
    decoded = Decoded()
    monkeypatch.setattr(clips, "decode_image", partial(decoded.decode, clips.decode_image))
    monkeypatch.setattr(time, "perf_counter", lambda: decoded.now_s)
    return decoded


@pytest.fixture
def service(backend):
    service = AsyncService(CloudService(Greeting("video", "abc", "{}"), Ingest(SHAPE, "abc"), backend))
    yield service
    service.close()


def message(time_left_s=PATIENCE_S):
    return serialise_request(Request("abc", "png", 0, (0,) * 4, 0, 0, time_left_s, "test", BODY))


async def begun(decoded):
    """Wait until the first frame is decoded."""
    while not decoded:
        await asyncio.sleep(0.001)


async def ended(call):
    try:
        return await call
    except (asyncio.CancelledError, DeadlineExceeded, Overloaded) as error:
        return error


def test_decoding_stops_at_the_deadline(service, backend, decoded):
    with pytest.raises(DeadlineExceeded, match="passed while the request was decoded"):
        asyncio.run(service.infer(message(time_left_s=5 * FRAME_S), 0.0, PATIENCE_S))
    assert len(decoded) == 6
    assert not backend.submitted


def test_decoding_stops_at_the_end_of_the_call(service, backend, decoded):
    with pytest.raises(DeadlineExceeded):
        asyncio.run(service.infer(message(), 0.0, left_s=5 * FRAME_S))
    assert len(decoded) == 6


def test_decoding_stops_when_the_device_disconnects(service, backend, decoded):
    async def disconnect():
        decoded.go_on.clear()
        call = asyncio.create_task(service.infer(message(), 0.0, PATIENCE_S))
        await begun(decoded)
        call.cancel()
        await asyncio.sleep(0)
        decoded.go_on.set()
        assert isinstance(await ended(call), asyncio.CancelledError)

    asyncio.run(disconnect())
    service.close()
    assert len(decoded) == 1
    assert not backend.submitted


def test_decoding_is_known_at_the_end_of_a_call_that_is_reset(service, decoded):
    watched, waiting = Call(), [Call() for _ in range(8)]

    async def reset():
        decoded.go_on.clear()
        calls = [asyncio.create_task(service.infer(message(), 0.0, PATIENCE_S, call)) for call in (watched, *waiting)]
        await begun(decoded)
        for call in calls:
            call.cancel()
        await asyncio.sleep(0)
        decoded.go_on.set()
        await asyncio.gather(*map(ended, calls))

    asyncio.run(reset())
    assert watched.decode_s > 0.0
    assert waiting[-1].decode_s == 0.0, "no decoder had begun with it"
    assert len(decoded) <= 2  # by two decoders


def test_a_request_that_was_decoded_for_nobody_leaves_the_queue(service, backend, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    submit = backend.submit

    def held(*args):
        begun.set()
        go_on.wait()
        submit(*args)

    monkeypatch.setattr(backend, "submit", held)

    async def disconnect():
        call = asyncio.create_task(service.infer(message(), 0.0, PATIENCE_S))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        call.cancel()
        go_on.set()
        await ended(call)

    asyncio.run(disconnect())
    service.close()
    assert backend.cancelled == backend.submitted == [0]


def test_a_request_whose_deadline_passed_before_a_decoder_was_free_is_not_decoded(service, backend, decoded):
    async def crowd():
        decoded.go_on.clear()
        first = [asyncio.create_task(service.infer(message(), 0.0, PATIENCE_S)) for _ in range(2)]
        late = [
            asyncio.create_task(service.infer(message(time_left_s=3 * FRAME_S), 0.0, PATIENCE_S)) for _ in range(20)
        ]
        await asyncio.sleep(0)  # all of them have arrived
        decoded.go_on.set()
        refusals = await asyncio.gather(*map(ended, late))
        for call in first:
            call.cancel()
        await asyncio.gather(*map(ended, first))
        return refusals

    refusals = asyncio.run(crowd())
    assert {type(refusal) for refusal in refusals} == {Overloaded}
    assert backend.refused == 20
    assert len(decoded) <= 2 * FRAMES
