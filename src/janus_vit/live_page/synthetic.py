"""A made-up fleet, for tests and pictures of the live page: plausible reports, requests and batches."""

from __future__ import annotations

import random
from dataclasses import replace

from janus_vit.cloud.metrics import ANSWERED, RequestRecord
from janus_vit.cloud.watching.events import BatchRan, EventBuffer
from janus_vit.live_page.feed import PERIOD_S
from janus_vit.wire.stream_report import StreamReport

_KINDS = ("robot", "drone", "gate", "shuttle", "camera")
_FPS = 10
_SLA_S = 0.3


class SyntheticFleet:
    """Devices whose links get better and worse.

    Args:
        devices: number of devices.
        events: gets what happens.
        seed: of the random numbers.
    """

    def __init__(self, devices: int, events: EventBuffer, seed: int = 0) -> None:
        self._events = events
        self._random = random.Random(seed)
        names = [f"{_KINDS[number % len(_KINDS)]}-{number // len(_KINDS) + 1:02d}" for number in range(devices)]
        self._devices = [_Device(name, random.Random(f"{seed} {name}")) for name in names]

    def step(self) -> None:
        """Add what happens between two updates of the page."""
        sent = 0
        for device in self._devices:
            before = device.report
            report = device.step()
            self._events.add(report)
            new = report.images + report.tokens - before.images - before.tokens
            for number in range(new):
                refused = number < report.refusals - before.refusals
                outcome = "refused" if refused else ANSWERED
                self._events.add(RequestRecord(report.device, outcome, 20_000, 0, 0.004, 0.012))
                sent += not refused
        while sent > 0:
            frames = min(sent, self._random.randint(2, 9))
            self._events.add(BatchRan(frames, 0.004 + 0.0012 * frames, 0.002 * frames, frames))
            sent -= frames


class _Device:
    def __init__(self, name: str, chance: random.Random) -> None:
        self._chance = chance
        self._typical_mbps = chance.choice((3.0, 8.0, 15.0, 30.0, 60.0))
        self._mbps = self._typical_mbps
        self._misfortune = chance.choice((0.0, 0.0, 0.002, 0.005, 0.02))  # share of updates with late frames
        self.report = StreamReport(name, "", _SLA_S)

    def step(self) -> StreamReport:
        chance, before = self._chance, self.report
        pull = 0.1 * (self._typical_mbps / self._mbps - 1)
        self._mbps = max(0.15, self._mbps * (1 + min(pull, 0.3) + chance.gauss(0, 0.16)))
        if chance.random() < 0.004:
            self._mbps = 0.2
        frames = round(_FPS * PERIOD_S)
        image, local = self._mbps > 9, self._mbps < 1.2
        plan = "level 0.45, device only" if local else f"level 0.{'10' if image else '30'}, split {0 if image else 8}, "
        plan += "" if local else "jpeg90" if image else "int8"
        latency_s = 0.24 if local else 0.07 + (0.9 if image else 0.3) / self._mbps
        latency_s = min(latency_s * chance.uniform(0.9, 1.15), 0.27) if chance.random() > self._misfortune else 0.36
        fallbacks = int(not local and chance.random() < (0.12 if self._mbps < 2 else 0.006))
        late = frames if latency_s > _SLA_S else int(fallbacks and chance.random() < 0.3)
        self.report = replace(
            before,
            plan=plan,
            rate_mbps=self._mbps,
            frames=before.frames + frames,
            in_time=before.in_time + frames - late,
            fallbacks=before.fallbacks + fallbacks,
            refusals=before.refusals + int(image and chance.random() < 0.008),
            images=before.images + frames * image,
            tokens=before.tokens + frames * (not image and not local),
            rated=before.rated + frames,
            expected_right=before.expected_right + (frames - late) * (0.80 if local else 0.87),
            latency_s=before.latency_s + frames * latency_s,
        )
        return self.report
