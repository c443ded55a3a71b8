"""Packets of one direction of a link arrive when the trace, the queue, the losses and the delay say."""

from __future__ import annotations

import numpy as np
import pytest

from janus_vit.errors import InputError
from janus_vit.links.packets import Counts, Damage, PacketLink
from janus_vit.links.traces import Trace

PACKET = bytes(1250)  # 10 kbit: 1 ms at 10 Mbps


def trace_of(*mbps: float) -> Trace:
    return Trace("test", 1.0, np.array(mbps))


def link_of(*mbps: float, delay_s: float = 0.0, queue_bytes: int = 100_000, **settings) -> PacketLink:
    return PacketLink(trace_of(*mbps), delay_s, queue_bytes, **settings)


def arrivals(link: PacketLink) -> list[float]:
    """Return when each packet in flight arrives."""
    times_s = []
    while link.next_s < float("inf"):
        times_s += [link.next_s] * len(link.take(link.next_s))
    return times_s


def test_packets_leave_one_after_another_at_the_rate_and_arrive_a_delay_later():
    link = link_of(10, delay_s=0.02)
    for _ in range(3):
        link.put(PACKET, 0.5)
    assert arrivals(link) == pytest.approx([0.521, 0.522, 0.523])


def test_a_packet_that_finds_the_link_idle_starts_at_once():
    link = link_of(10)
    link.put(PACKET, 0.1)
    link.put(PACKET, 0.2)
    assert arrivals(link) == pytest.approx([0.101, 0.201])


def test_the_rate_can_change_in_the_middle_of_a_packet():
    link = link_of(10, 1)
    link.put(PACKET, 0.9995)
    assert arrivals(link) == pytest.approx([1.005])


def test_a_rate_of_zero_stalls_what_is_queued():
    link = link_of(10, 0, 10)
    link.put(PACKET, 0.9995)
    link.put(PACKET, 1.5)
    assert arrivals(link) == pytest.approx([2.0005, 2.0015])


def test_packets_arrive_whole_in_order_and_once():
    link = link_of(10)
    packets = [bytes([index]) * 100 for index in range(5)]
    for packet in packets:
        link.put(packet, 0.0)
    early = link.take(0.0002)
    assert early + link.take(1.0) == packets
    assert link.take(2.0) == []


def test_no_packet_arrives_early():
    link = link_of(10)
    link.put(PACKET, 0.0)
    assert link.take(0.000999) == []


def test_a_packet_that_does_not_fit_in_the_queue_is_dropped():
    link = link_of(10, queue_bytes=3 * len(PACKET))
    for _ in range(5):
        link.put(PACKET, 0.0)
    assert arrivals(link) == pytest.approx([0.001, 0.002, 0.003])
    assert link.counts == Counts(sent=3, dropped=2, lost=0)


def test_a_packet_that_has_left_makes_room_while_it_is_in_flight():
    link = link_of(10, delay_s=5.0, queue_bytes=len(PACKET))
    link.put(PACKET, 0.0)
    link.put(PACKET, 0.0009)  # the first is still being sent
    link.put(PACKET, 0.0011)
    assert arrivals(link) == pytest.approx([5.001, 5.0021])


def test_a_small_packet_fits_where_a_large_one_does_not():
    link = link_of(10, queue_bytes=2000)
    for size_bytes in (1500, 1500, 500):
        link.put(bytes(size_bytes), 0.0)
    assert [len(packet) for packet in link.take(1.0)] == [1500, 500]


def test_without_a_trace_only_the_delay_remains_and_nothing_is_dropped():
    link = PacketLink(None, 0.25, queue_bytes=3000)
    for _ in range(100):
        link.put(PACKET, 1.0)
    assert arrivals(link) == [1.25] * 100


def test_lost_packets_have_used_the_link():
    link = link_of(10, loss=0.5, seed=3)
    for _ in range(40):
        link.put(PACKET, 0.0)
    times_ms = [1000 * time_s for time_s in arrivals(link)]
    assert 0 < link.counts.lost == 40 - len(times_ms)
    assert times_ms == pytest.approx([round(time_ms) for time_ms in times_ms])  # gaps stay where losses were
    assert max(times_ms) > len(times_ms)


def survivors(seed: int) -> list[bytes]:
    link = link_of(10, loss=0.3, seed=seed)
    for index in range(200):
        link.put(index.to_bytes(2, "big"), 0.0)
    return link.take(100.0)


def test_losses_follow_from_the_seed():
    assert survivors(1) == survivors(1) != survivors(2)


def test_the_share_of_losses_is_as_asked_for():
    link = link_of(1000, loss=0.01, queue_bytes=10**9, seed=5)
    for _ in range(50_000):
        link.put(b"packet", 0.0)
    assert link.counts.lost == pytest.approx(500, abs=4 * 500**0.5)


@pytest.mark.parametrize(("loss", "seed", "named"), [(1.0, 0, "loss"), (-0.1, 0, "loss"), (0.1, -1, "seed")])
def test_an_invalid_loss_or_seed_is_named(loss, seed, named):
    with pytest.raises(InputError, match=f"^{named} is"):
        link_of(10, loss=loss, seed=seed)


def test_a_loss_of_nan_is_named():
    with pytest.raises(InputError, match=r"^loss is nan"):
        link_of(10, loss=float("nan"))


def test_packets_are_duplicated_reordered_and_corrupted_as_asked():
    packets = [bytes([index]) * 100 for index in range(50)]
    taken = {}
    for kind in ("duplicated", "reordered", "corrupted"):
        link = link_of(10, damage=Damage(**{kind: 0.3}), seed=3)
        for packet in packets:
            link.put(packet, 0.0)
        taken[kind] = link.take(100.0)
    assert set(taken["duplicated"]) == set(packets)
    assert 55 < len(taken["duplicated"]) < 75
    assert taken["reordered"] != packets
    assert sorted(taken["reordered"]) == packets
    changed = [got for got, sent in zip(taken["corrupted"], packets, strict=True) if got != sent]
    assert 5 < len(changed) < 25
    assert all(len(set(packet[:20])) == 1 for packet in changed)  # not the IP header


def test_a_share_above_one_is_refused():
    with pytest.raises(InputError, match=r"reordered is 1\.5: use a share"):
        Damage(reordered=1.5)
