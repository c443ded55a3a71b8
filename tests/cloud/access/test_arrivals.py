"""Who connects again and again is kept out, and others are not. Plain data first, then a filter of the kernel."""

import errno
import ipaddress
import os
import socket
import struct

import pytest

from janus_vit.cloud.access import syn_filter
from janus_vit.cloud.access.arrivals import Arrivals
from janus_vit.cloud.access.callers import Caller
from janus_vit.cloud.access.connections import ConnectionGuard, Sockets
from janus_vit.cloud.access.roster import ConnectionLimits, Roster

SO_MEMINFO, SK_MEMINFO_OPTMEM = 55, 6
HOME, AWAY = "127.0.0.2", "127.0.0.3"
LIMITS = ConnectionLimits(total=1_000, per_client=8)


def flood(arrivals, network, connections=33):
    for _ in range(connections):
        arrivals.add(network, called=True)


def test_who_connects_too_often_is_kept_out_and_others_are_not():
    arrivals = Arrivals()
    flood(arrivals, HOME, 32)
    assert arrivals.review(0.0) == {}
    flood(arrivals, HOME, 1)
    flood(arrivals, AWAY, 1)
    assert list(arrivals.review(0.0)) == [HOME]


def test_connections_over_a_long_time_are_no_flood():
    arrivals = Arrivals()
    for second in range(1_000):
        flood(arrivals, HOME, 10)
        assert arrivals.review(float(second)) == {}


def test_who_comes_back_to_flood_is_kept_out_for_longer_each_time_until_it_was_quiet():
    arrivals, now_s, lengths_s = Arrivals(), 0.0, []
    for _ in range(6):
        flood(arrivals, HOME)
        lengths_s.append(arrivals.review(now_s)[HOME].length_s)
        now_s = arrivals.bans[HOME].until_s
        assert arrivals.review(now_s) == {}
    assert lengths_s == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert arrivals.review(now_s + 60.0) == {}
    flood(arrivals, HOME)
    assert arrivals.review(now_s + 60.0)[HOME].length_s == 5.0


def connect_fleet(roster, devices, now_s=0.0):
    """Each device of a fleet behind one address connects; the peers of their connections."""
    peers = [(HOME, port) for port in range(1, devices + 1)]
    roster.review(peers, now_s)
    return peers


def test_a_fleet_behind_one_address_connects_at_once_and_is_answered_later():
    roster = Roster()
    peers = connect_fleet(roster, 1_000)
    for peer in peers:
        roster.meet(peer, 0.5)
    assert roster.arrivals.review(0.5) == {}
    for number, peer in enumerate(peers):
        roster.answer(peer, Caller(f"robot-{number}", proven=True))
    roster.review(peers, 2.0)
    roster.review([], 10.0)
    assert roster.arrivals.review(10.0) == {}


def test_devices_whose_connections_are_cut_before_they_call_may_come_again():
    roster = Roster()
    connect_fleet(roster, 200)
    roster.review([], 5.0)
    assert roster.arrivals.review(5.0) == {}


@pytest.mark.parametrize("held", [True, False], ids=["held", "closed"])
def test_connections_with_calls_that_get_no_answer_are_a_flood(held):
    roster = Roster()
    peers = connect_fleet(roster, 40)
    for peer in peers:
        roster.meet(peer, 0.1)
    assert roster.arrivals.review(0.1) == {}
    roster.review(peers if held else [], 1.2)
    assert list(roster.arrivals.review(1.2)) == [HOME]


def test_silent_connections_are_a_flood_if_there_are_hundreds():
    roster = Roster()
    connect_fleet(roster, 300)
    roster.review([], 0.5)
    assert list(roster.arrivals.review(0.5)) == [HOME]


def test_one_device_cannot_vouch_for_a_flood():
    roster = Roster()
    for port in range(64):
        roster.meet((HOME, port), 0.0)
        roster.admit((HOME, port), Caller("insider", proven=True), 0.0)
        for _ in range(100):
            roster.answer((HOME, port), Caller("insider", proven=True))
    assert list(roster.arrivals.review(0.0)) == [HOME]


def test_a_connection_counts_once_and_not_before_it_has_ended():
    roster = Roster()
    roster.meet((HOME, 1), 0.0)
    roster.meet((HOME, 2), 1.0)
    roster.review([], 1.0)  # listed before the second one came
    assert roster.arrivals.of_networks == {HOME: 1.0}
    roster.review([], 1.5)
    roster.review([], 1.6)
    assert roster.arrivals.of_networks == {HOME: 2.0}


def test_addresses_that_flood_are_forgotten_before_there_are_too_many():
    arrivals = Arrivals()
    for number in range(10_000):
        flood(arrivals, f"network {number}")
    assert len(arrivals.of_networks) <= 4_096
    arrivals.review(0.0)
    assert len(arrivals.review(1_000.0)) == len(arrivals.bans) == len(arrivals.of_networks) == 0


def gets_in(server, source):
    """Whether a connection from this address is accepted."""
    try:
        socket.create_connection(server.getsockname()[:2], timeout=0.3, source_address=(source, 0)).close()
    except TimeoutError:
        return False
    server.accept()[0].close()
    return True


@pytest.fixture
def server():
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server


def prefixes(count):
    """Networks whose filter is the largest."""
    return [f"2001:db8:0:{number:x}::/64" for number in range(count)]


def test_the_largest_filter_replaces_another_one_on_kernels_that_allow_twenty_kilobytes(server):
    syn_filter.attach(server, prefixes(syn_filter.MOST_NETWORKS))
    memory = struct.unpack("9I", server.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
    assert 0 < 2 * memory[SK_MEMINFO_OPTMEM] < 20_480


def test_the_filter_drops_new_connections_of_its_networks_alone_and_keeps_open_ones(server):
    with (
        socket.create_connection(server.getsockname(), source_address=(HOME, 0)) as client,
        server.accept()[0] as open_one,
    ):
        syn_filter.attach(server, [*prefixes(syn_filter.MOST_NETWORKS - 1), HOME])
        assert not gets_in(server, HOME)
        assert gets_in(server, AWAY)
        client.sendall(b"still open")
        assert open_one.recv(100) == b"still open"
        syn_filter.attach(server, [])
        assert gets_in(server, HOME)


def verdict(program, ip_header, tcp_header):
    """What the kernel does with a packet, by the rules of classic BPF: how many of its bytes are kept."""
    value, at = 0, 0
    while True:
        operation, if_true, if_false, operand = program[at]
        at += 1
        if operation == syn_filter._RETURN:
            return operand
        if operation == syn_filter._AND:
            value &= operand
        elif operation == syn_filter._IF_EQUAL:
            at += if_true if value == operand else if_false
        else:
            header, offset = (ip_header, operand - 0xFFF00000) if operand >= 0xFFF00000 else (tcp_header, operand)
            size = 4 if operation == syn_filter._LOAD_WORD else 1
            value = int.from_bytes(header[offset : offset + size], "big")


def header_from(address):
    """An IP header with this source."""
    source = ipaddress.ip_address(address)
    before = 12 if source.version == 4 else 8
    return bytes([source.version << 4]) + bytes(before - 1) + source.packed + bytes(16)


SYN, SYN_ACK, ACK = (bytes(13) + bytes([flags]) + bytes(6) for flags in (0x02, 0x12, 0x10))


@pytest.mark.parametrize(
    ("address", "tcp_header", "is_kept"),
    [
        ("10.0.0.7", SYN, False),
        ("10.0.0.7", ACK, True),
        ("10.0.0.7", SYN_ACK, True),
        ("10.0.0.6", SYN, True),
        ("10.1.0.7", SYN, True),
        ("2001:db8:1:2::9", SYN, False),
        ("2001:db8:1:2:ffff::", SYN, False),
        ("2001:db8:1:3::9", SYN, True),
        ("2001:db9:1:2::9", SYN, True),
        ("2001:db8:1:2::9", ACK, True),
        ("a00:7::", SYN, True),  # the same bytes as the IPv4 address, at another place
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_the_filter_drops_requests_of_both_ip_versions(address, tcp_header, is_kept, order):
    program = list(syn_filter.syn_filter(["192.0.2.1", "10.0.0.7", "2001:db8:1:2::/64", "fd00::/64"][::order]))
    assert (verdict(program, header_from(address), tcp_header) > 0) is is_kept


def test_a_guard_keeps_a_flood_out_and_says_so(server, caplog):
    roster, now_s = Roster(), [0.0]
    guard = ConnectionGuard(server.getsockname()[1], roster, LIMITS, lambda: now_s[0])
    try:
        flood(roster.arrivals, HOME)
        guard.wake()
        while gets_in(server, HOME):
            pass
        assert gets_in(server, AWAY)
        assert [record.getMessage() for record in caplog.records] == [
            f"{HOME} connects too often: its new connections are dropped for 5 s"
        ]
        now_s[0] = 5.0
        guard.wake()
        while not gets_in(server, HOME):
            pass
    finally:
        guard.close()


def test_a_guard_says_so_once_where_the_system_has_no_filters(server, caplog, monkeypatch):
    def no_filters(listener, networks):
        raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    monkeypatch.setattr(syn_filter, "attach", no_filters)
    roster, now_s = Roster(), [0.0]
    guard = ConnectionGuard(server.getsockname()[1], roster, LIMITS, lambda: now_s[0])
    flood(roster.arrivals, HOME)
    for _ in range(3):
        guard._patrol()
    guard.close()
    (record,) = caplog.records
    assert f"{HOME} connects too often: a firewall should drop its connections" in record.getMessage()


def test_only_listeners_of_the_port_are_found(server):
    port = server.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)), socket.create_connection(server.getsockname()), server.accept()[0]:
        assert [sock.getsockname()[1] for sock in Sockets(port).listeners()] == [port]


def test_looking_for_listeners_leaves_no_file_open(server):
    """Each copy that stayed open would be copied the next time, too, until the process had no file left."""
    sockets = Sockets(server.getsockname()[1])
    with open(os.devnull) as no_socket:
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(3):
            assert len(list(sockets.listeners())) == 1
            sockets.cut(("127.0.0.1", 1), no_socket.fileno())  # the number was that of a connection before
        assert len(os.listdir("/proc/self/fd")) == len(before)
