"""A device whose cloud is absent runs alone, and uses the cloud from the moment at which it answers."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from random import Random
from threading import Event

import grpc
import pytest
from patience import PATIENCE_S, wait_until

from janus_vit.cloud.server import Cloud
from janus_vit.errors import InputError, ModelMismatch, Unauthenticated, Unreachable, WireError
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.policies.presets import POLICIES, make_lone_policy
from janus_vit.runtime.connect import connect
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.runtime.search.absent_cloud import (
    THREAD_NAME,
    CloudSearch,
    SearchedPolicy,
    SearchedTransport,
    jittered_pauses,
)
from janus_vit.runtime.search.connection import Returns
from janus_vit.wire.answer_check import Outputs

ALONE, JOINED = "alone", "joined"
UNKNOWN = Unauthenticated("cloud:1 does not know this device: no token")


class Joining:
    """A handshake that fails in these ways, then succeeds."""

    def __init__(self, *failures):
        self.failures = list(failures)

    def __call__(self):
        if self.failures:
            raise self.failures.pop(0)
        return JOINED


class Notes(list):
    """What was told; waits for the next sentence of a thread."""

    def __init__(self):
        self.told = Event()

    def __call__(self, message):
        self.append(message)
        self.told.set()

    def wait(self):
        assert self.told.wait(PATIENCE_S)
        self.told.clear()


@pytest.fixture
def notes():
    return Notes()


def search_for(join, notes):
    return CloudSearch(ALONE, join, "cloud:1", notes, repeat(0.0))


def test_a_cloud_that_answers_at_once_is_used(notes):
    search = search_for(Joining(), notes)
    search.begin(required=False)
    assert (search.policy, notes) == (JOINED, ["connected to cloud:1"])


def test_without_a_cloud_the_device_runs_alone_says_so_once_and_joins_later(notes):
    search = search_for(Joining(*[InputError("no cloud answers")] * 3, WireError("garbage")), notes)
    search.begin(required=False)
    notes.wait()
    if len(notes) < 2:
        notes.wait()
    assert notes == ["no cloud answers; until it answers, frames stay on this device", "connected to cloud:1"]
    assert search.policy == JOINED


@pytest.mark.parametrize("error", [InputError("no cloud answers"), ModelMismatch("another model")])
def test_a_required_cloud_is_an_error_if_it_cannot_be_used(notes, error):
    search = search_for(Joining(error), notes)
    with pytest.raises(type(error)):
        search.begin(required=True)
    assert (search.policy, notes) == (ALONE, [])


def test_a_cloud_with_another_model_is_refused_for_good_with_one_line(notes):
    join = Joining(ModelMismatch("the cloud runs B"))
    search = search_for(join, notes)
    search.begin(required=False)
    search.doubt()
    assert (search.policy, notes) == (
        ALONE,
        ["the cloud runs B; this cloud is not used, and frames stay on this device"],
    )


class Sent:
    """The part of an outcome that tells how a frame was refused."""

    def __init__(self, fallback, impossible=()):
        self.fallback, self.refused, self.impossible = fallback, fallback is not None, impossible


class Joined:
    """A policy that hears of outcomes."""

    def observe(self, outcome):
        pass


@pytest.mark.parametrize("told", [Sent("OtherModel: not yours"), Sent(None, ("late reply: OtherModel: not yours",))])
def test_a_cloud_that_returns_with_another_model_is_refused_for_good(notes, told):
    join = Joining()
    search = CloudSearch(ALONE, lambda: join() and Joined(), "cloud:1", notes, repeat(0.0))
    search.begin(required=True)
    notes.told.clear()
    join.failures.append(ModelMismatch("the cloud runs B"))
    SearchedPolicy(search).observe(told)
    notes.wait()
    assert notes[1:] == ["the cloud runs B; this cloud is not used, and frames stay on this device"]
    assert search.policy == ALONE


def test_one_refusal_does_not_end_offloading_if_the_handshake_shows_the_same_model(notes):
    joined_again = Event()
    search = CloudSearch(ALONE, lambda: (joined_again.set(), Joined())[1], "cloud:1", notes, repeat(0.0))
    search.begin(required=True)
    joined_again.clear()
    SearchedPolicy(search).observe(Sent("OtherModel: not yours"))
    assert joined_again.wait(PATIENCE_S)
    assert notes == ["connected to cloud:1"]


def test_a_cloud_that_does_not_know_the_device_any_more_gets_no_frame_until_it_does(notes):
    alone, may_return = Joined(), Event()
    pauses = (0.0 for _ in repeat(None) if may_return.wait(PATIENCE_S))
    search = CloudSearch(alone, Joined, "cloud:1", notes, pauses)
    search.begin(required=True)
    for _ in range(3):  # also those that were in flight
        search.unknown(UNKNOWN)
    assert search.policy is alone
    assert notes[1:] == ["cloud:1 does not know this device: no token; until it does, frames stay on this device"]
    notes.told.clear()
    may_return.set()
    notes.wait()
    assert notes[2:] == ["connected to cloud:1"]
    assert search.policy is not alone


@pytest.mark.parametrize(
    ("first", "told"), [(InputError("no cloud answers"), ["no cloud answers; until it answers"]), (UNKNOWN, [])]
)
def test_a_cloud_that_does_not_know_the_device_says_so_once_however_often_it_is_asked(notes, first, told):
    refused = Joining(first, *[UNKNOWN] * 3, ModelMismatch("the cloud runs B"))
    search_for(refused, notes).begin(required=False)
    wait_until(lambda: notes[-1].startswith("the cloud runs B"))
    unknown = "cloud:1 does not know this device: no token; until it does"
    assert [note.removesuffix(", frames stay on this device") for note in notes[:-1]] == [*told, unknown]


def test_a_required_cloud_that_does_not_know_the_device_is_an_error(notes):
    with pytest.raises(InputError, match="does not know this device"):
        search_for(Joining(UNKNOWN), notes).begin(required=True)
    assert notes == []


@pytest.mark.parametrize("fallback", [None, "Unreachable: gone", "Rejected: full"])
def test_other_outcomes_start_no_search(notes, fallback):
    search = CloudSearch(ALONE, Joined, "cloud:1", notes, repeat(0.0))
    search.begin(required=True)
    joined = search.policy
    SearchedPolicy(search).observe(Sent(fallback))
    assert search.policy is joined


class Closing:
    """A transport that is closed."""

    closed = False

    def close(self):
        self.closed = True


def test_closing_ends_the_search(notes):
    search = CloudSearch(ALONE, Joining(*[InputError("none")] * 2), "cloud:1", notes, iter([3600.0]))
    search.begin(required=False)
    transport = Closing()
    SearchedTransport(transport, search).close()
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    assert transport.closed


class Spread:
    """A random number generator that spreads nothing, and remembers over how many seconds it should."""

    asked = 0

    def uniform(self, least, most):
        self.asked += 1
        self.range_s = least, most
        return least


@contextmanager
def connected_again(on_return):
    """A connection that returns as soon as somebody watches it."""
    on_return()
    yield


def test_the_next_attempt_follows_within_a_second_when_the_connection_returns(notes):
    spread = Spread()
    search = CloudSearch(ALONE, Joining(InputError("none")), "cloud:1", notes, repeat(3600.0), connected_again, spread)
    search.begin(required=False)
    notes.wait()
    if len(notes) < 2:
        notes.wait()
    assert search.policy == JOINED
    assert spread.range_s == (0.0, 1.0), "many devices see the same cloud return at the same moment"


@pytest.mark.parametrize(("failure", "cut"), [(InputError("broken off"), 3), (UNKNOWN, 0)])
def test_connections_that_come_and_go_cut_every_second_pause_at_most(notes, failure, cut):
    """Here the connection changes with every attempt; a cloud that answers, although with a refusal, is there."""
    watching, made, ended, spread = [], [], Event(), Spread()

    @contextmanager
    def flickering(on_change):
        watching.append(on_change)
        yield

    def fail():
        made.append(failure)
        watching[0]()
        raise failure

    def pauses():
        yield from [0.0] * 6
        ended.set()
        yield 3600.0

    search = CloudSearch(ALONE, fail, "cloud:1", notes, pauses(), flickering, spread)
    search.doubt()
    assert ended.wait(PATIENCE_S)
    search.close()
    assert (len(made), spread.asked) == (6, cut)


def serve_at(port):
    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    assert server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


def test_grpc_notices_a_server_that_starts_and_one_that_is_started_again(model):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    transport, changed = GrpcTransport(f"127.0.0.1:{port}", Outputs(7)), Event()
    with Returns(transport.channel).watched(changed.set):
        for _ in range(2):
            with pytest.raises(Unreachable):
                transport.hello(PATIENCE_S)  # gRPC tries to connect from now on
            changed.clear()
            server = serve_at(port)
            assert changed.wait(PATIENCE_S), "it serves"
            changed.clear()
            server.stop(0).wait()
            assert changed.wait(PATIENCE_S), "it is gone"
    transport.close()


def test_pauses_grow_to_half_a_minute_and_differ_between_devices():
    one, other = (jittered_pauses(Random(seed)) for seed in (1, 2))
    pauses = [next(one) for _ in range(10)]
    assert 0.25 <= pauses[0] <= 0.5
    assert 15.0 <= pauses[-1] <= 30.0
    assert pauses != [next(other) for _ in range(10)]


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("private", [False, True])
def test_every_policy_has_a_plan_without_a_cloud(model, make_profile, name, private):
    profile = make_profile(1e-3)
    platforms = Platforms(model.shape, profile, profile, 1.0, 0.0, None, images_allowed=not private)
    if private and name in ("cloud-only", "cloud-jpeg"):
        with pytest.raises(InputError, match="not allowed"):
            make_lone_policy(name, platforms)
        return
    decision = make_lone_policy(name, platforms).choose(Situation(0.0, 0.3))
    assert decision.plan.is_local
    assert decision.probe_bytes == 0


def test_a_device_that_starts_before_its_cloud_joins_it_live(model, make_profile, frames, notes):
    profile = make_profile(1e-4, model=model.name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"policy": "cloud-jpeg", "sla_s": PATIENCE_S, "require_cloud": False}
    with connect(model, f"127.0.0.1:{port}", profile, notify=notes, **options) as device:
        assert device.infer(frames[0]).plan.is_local
        notes.told.clear()
        with Cloud(model, profile, f"127.0.0.1:{port}", engine="eager"):
            notes.wait()
            outcome = device.infer(frames[0])
    assert outcome.fallback is None
    assert not outcome.plan.is_local
    assert notes[0].endswith("until it answers, frames stay on this device")
    assert notes[1:] == [f"connected to 127.0.0.1:{port}"]
