"""What a device knows when it decides: what is in the air, and whether another frame may begin, and is worth it.

Decides and waits for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from janus_vit.planning.policies.base import Decision, Policy, Situation
from janus_vit.runtime.clock import Clock
from janus_vit.runtime.flights.flight import Flight, Uplink, in_the_air, waits_of
from janus_vit.runtime.flights.probes import Probes
from janus_vit.runtime.flights.rescues import has_room
from janus_vit.runtime.known_load import KnownLoad
from janus_vit.runtime.measuring import busy_s, chance

_LEAST, _HOPELESS, _LIKELY = 0.01, 0.05, 0.9  # probabilities of being in time


class Outlook:
    """Looks at the frames in flight for the policy.

    Args:
        policy: chooses the plans.
        flights: frames whose answers are not delivered; the device adds and removes them.
        uplink: knows when payloads will have left.
        probes: know when the link was last probed.
        load: of the cloud.
        sla_s: time allowed for each frame.
        clock: the device's clock.
    """

    def __init__(
        self,
        policy: Policy,
        flights: Collection[Flight],
        uplink: Uplink,
        probes: Probes,
        load: KnownLoad,
        sla_s: float,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._flights = flights
        self._uplink = uplink
        self._probes = probes
        self._load = load
        self._sla_s = sla_s
        self._clock = clock

    def decide(self, captured_s: float) -> tuple[Decision, Situation]:
        """The policy's decision for a frame that was captured at a time, and the situation that it is made in."""
        situation = self._situation(captured_s)
        return self._policy.choose(situation), situation

    def can_begin(self, decision: Decision, captured_s: float) -> bool:
        """Whether the device could still finish all frames in the air in time, and this one too."""
        now_s, deadline_s = self._clock.now(), captured_s + self._sla_s
        if any(flight.failure is not None for flight in self._flights):
            return False
        late_s = self._late_s(now_s)
        # It is delivered after them, so nothing is gained if they wait for its whole compute.
        if late_s and (decision.plan.is_local or now_s + busy_s(decision) + late_s > deadline_s):
            return False
        waits, is_silent = waits_of(self._flights), self._uplink.is_silent
        return has_room(waits, now_s, decision, deadline_s, busy_s(decision), is_silent)

    def has_room(self) -> bool:
        """Whether a frame that is captured now could begin at once, and is as likely to be in time as a later one."""
        decision, situation = self.decide(self._clock.now())
        if not self.can_begin(decision, situation.now_s):
            return False
        probability = chance(decision, situation)
        if not _HOPELESS <= probability < _LIKELY:
            return probability >= _LIKELY
        alone = replace(situation, uplink_busy_s=0.0, device_busy_s=0.0)
        return probability >= _LIKELY * chance(self._policy.choose(alone), alone)

    def is_hopeless(self, captured_s: float, fresh: float) -> bool:
        """Whether a camera's frame cannot be in time, while one that is captured when it could begin may be.

        Args:
            captured_s: time of capture.
            fresh: probability that a frame captured now is in time.
        """
        decision, situation = self.decide(captured_s)
        if not self.can_begin(decision, captured_s):
            decision, situation = self.decide(captured_s - self._late_s(situation.now_s))
        probability = chance(decision, situation)
        return probability < _HOPELESS and fresh > max(_LEAST, 2 * probability)

    def sent_s(self) -> float:
        """When the payloads in the air will be sent; infinite if they should be already."""
        now_s = self._clock.now()
        link_s = self._uplink.backlog(in_the_air(self._flights), now_s)[0]
        return now_s + link_s if link_s > 0 else math.inf

    def _situation(self, captured_s: float) -> Situation:
        self._probes.finished()
        now_s = self._clock.now()
        sent = in_the_air(self._flights)
        uplink_busy_s, queue_s = self._uplink.backlog(sent, now_s) if sent else (0.0, 0.0)
        return Situation(
            now_s=now_s,
            time_left_s=captured_s + self._sla_s - now_s,
            cloud_queue_s=max(queue_s, self._load.queue_s(now_s)),
            last_probe_s=self._probes.last_s,
            price=self._load.price(now_s),
            uplink_busy_s=uplink_busy_s,
            device_busy_s=sum(flight.unfinished_s for flight in sent),
            at_most_mbps=min((flight.rate_at_most_mbps(now_s) for flight in sent), default=math.inf),
        )

    def _late_s(self, now_s: float) -> float:
        """Time that the device needs to finish the frames that are late already."""
        return sum(flight.unfinished_s for flight in self._flights if flight.deadline_s <= now_s)
