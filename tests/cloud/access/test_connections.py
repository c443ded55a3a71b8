"""Which connections stay: plain data first, then real sockets of a server in this process."""

import errno
import os
import resource
import socket
import threading

import pytest
from patience import PATIENCE_S

from janus_vit.cloud.access.callers import Caller
from janus_vit.cloud.access.connections import ConnectionGuard, Sockets, allow_many_files, plain_address
from janus_vit.cloud.access.roster import ConnectionLimits, Roster, Seen, to_cut

LIMITS = ConnectionLimits(total=6, per_client=2, strangers=3, stranger_s=5.0)
PROVEN, ANONYMOUS = Caller("robot-1", proven=True), Caller("10.0.0.9")


def at(port, host="10.0.0.5"):
    return host, port


def test_a_connection_without_a_call_is_cut_after_its_time():
    present = {at(1): Seen(first_s=0.0), at(2): Seen(first_s=4.0), at(3): Seen(0.0, PROVEN)}
    assert to_cut(present, LIMITS, now_s=6.0) == [at(1)]


def test_of_too_many_strangers_the_oldest_go_and_callers_of_the_same_address_stay():
    present = {at(port): Seen(first_s=port / 2) for port in range(5)} | {at(9): Seen(0.0, PROVEN)}
    assert set(to_cut(present, LIMITS, now_s=4.5)) == {at(0), at(1)}


def test_a_fleet_behind_one_address_may_connect_at_once_and_has_a_second_to_call():
    fleet = {at(port): Seen(first_s=0.0) for port in range(6)}
    assert to_cut(fleet, LIMITS, now_s=0.9) == []
    assert len(to_cut(fleet, LIMITS, now_s=1.1)) == 3


def test_of_one_callers_connections_the_last_active_ones_stay():
    present = {at(port): Seen(0.0, PROVEN, last_s=last_s) for port, last_s in ((1, 9.0), (2, 3.0), (3, 8.0))}
    assert to_cut(present, LIMITS, now_s=9.0) == [at(2)]


def test_a_connection_that_a_caller_has_too_many_is_cut_no_sooner_than_a_silent_one():
    present = {at(port): Seen(0.0, PROVEN, last_s=float(port)) for port in (1, 2, 3)}
    assert to_cut(present, LIMITS, now_s=4.9) == []
    assert to_cut(present, LIMITS, now_s=5.1) == [at(1)]


def test_a_full_server_keeps_those_who_proved_who_they_are():
    crowd = {at(port, f"10.0.1.{port}"): Seen(1.0, Caller(f"10.0.1.{port}"), 1.0) for port in range(6)}
    present = crowd | {at(50): Seen(0.0, PROVEN, 0.0), at(51, "10.0.2.1"): Seen(2.0)}
    assert at(50) not in to_cut(present, LIMITS, now_s=2.0)
    assert at(51, "10.0.2.1") in to_cut(present, LIMITS, now_s=2.0)
    assert len(to_cut(present, LIMITS, now_s=2.0)) == 2


def test_refused_calls_end_a_connection_once_there_are_too_many_of_them():
    roster = Roster()
    assert not any(roster.strike(at(1), "flood", 0.0) for _ in range(64))
    assert roster.strike(at(1), "flood", 0.0)
    assert roster.strike(at(2), "flood", 1.0)  # a new connection of the same offender
    assert not roster.strike(at(3), "honest", 1.0)
    assert not roster.strike(at(2), "flood", 60.0) or roster.known[at(2)].doomed
    assert set(to_cut(roster.review([at(1), at(2), at(3)], 1.0), LIMITS, 1.0)) == {at(1), at(2)}


def test_who_is_refused_again_and_again_hears_of_it_late_on_all_its_connections_and_others_at_once():
    roster = Roster()
    for _ in range(10):
        roster.strike(at(1), "flood", 0.0)
    assert roster.held_s(at(1)) == 0.0
    for _ in range(10):
        roster.strike(at(2), "flood", 0.0)
    roster.strike(at(3), "honest", 0.0)
    held_s = [roster.held_s(at(number)) for number in (1, 2) for _ in range(50)]
    assert 2.0 <= min(held_s) < 3.0 < 5.0 < max(held_s) <= 6.0  # they do not come back together
    assert roster.held_s(at(3)) == roster.held_s(at(4)) == 0.0
    roster.review([at(1), at(2), at(3)], 0.0)
    roster.review([at(1), at(2), at(3)], 2.0)  # strikes fade
    assert roster.held_s(at(1)) == 0.0


def test_now_and_then_a_refused_call_does_no_harm():
    roster = Roster()
    assert not any(
        roster.strike(at(1), "honest", second)
        for second in range(1_000)
        if not roster.review([at(1)], second)[at(1)].doomed
    )


def test_closed_connections_are_forgotten():
    roster = Roster()
    for port in range(100):
        roster.admit(at(port), ANONYMOUS, 0.0)
    assert roster.review([at(1)], 60.0)[at(1)].caller == ANONYMOUS
    assert list(roster.known) == [at(1)]


def test_addresses_are_written_in_one_way():
    assert plain_address("::ffff:10.0.0.5") == "10.0.0.5"
    assert plain_address("fe80::1%eth0") == "fe80::1"


def test_sockets_of_a_port_are_listed_and_cut():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        port = server.getsockname()[1]
        sockets = Sockets(port)
        assert sockets.peers() == {}
        with (
            socket.create_connection(server.getsockname()) as client,
            socket.create_connection(other.getsockname()),
            server.accept()[0],
            other.accept()[0],
        ):
            listed = sockets.peers()
            assert list(listed) == [client.getsockname()]
            assert sockets.peers() == listed
            sockets.cut(("127.0.0.1", 1), listed[client.getsockname()])  # its file is another connection now
            client.sendall(b"still open")
            sockets.cut(client.getsockname(), listed[client.getsockname()])
            client.settimeout(PATIENCE_S)
            assert client.recv(1) == b""


def is_cut_when_doomed(client, roster, guard):
    while not roster.strike(client.getsockname(), "flood", guard._now()):
        pass
    guard.wake()
    client.settimeout(PATIENCE_S)
    return client.recv(1) == b""


def test_a_guard_cuts_a_doomed_connection_at_once():
    roster = Roster()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        guard = ConnectionGuard(server.getsockname()[1], roster, LIMITS)
        accepted, _ = server.accept()
        with accepted:
            assert is_cut_when_doomed(client, roster, guard)
        guard.close()
    assert "janus-guard" not in {thread.name for thread in threading.enumerate()}


def test_a_guard_goes_on_when_no_file_is_left_for_a_moment(monkeypatch):
    roster, failed, listdir = Roster(), threading.Event(), os.listdir

    def no_file_left(path):
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EMFILE, "too many open files")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", no_file_left)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        guard = ConnectionGuard(server.getsockname()[1], roster, LIMITS)
        accepted, _ = server.accept()
        with accepted:
            guard.wake()
            assert failed.wait(PATIENCE_S)
            assert is_cut_when_doomed(client, roster, guard)
        guard.close()


def test_a_connection_that_could_not_be_looked_at_is_found_the_next_time(monkeypatch):
    def no_file_left(number):
        raise OSError(errno.EMFILE, "too many open files")

    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        sockets = Sockets(server.getsockname()[1])
        with server.accept()[0]:
            with monkeypatch.context() as patched:
                patched.setattr(os, "dup", no_file_left)
                assert sockets.peers() == {}
            assert list(sockets.peers()) == [client.getsockname()]


@pytest.mark.parametrize(("allowed", "connections"), [(256, 128), (100, 50), (1 << 20, 65_536 - 128)])
def test_connections_leave_files_for_the_cloud_itself(monkeypatch, allowed, connections):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (allowed, allowed))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: None)
    assert allow_many_files() == connections
