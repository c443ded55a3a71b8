"""The faults: each begins, lasts, and ends. What this machine cannot do is emulated where the product reads it."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from janus_vit.testbed.chaos import attackers
from janus_vit.testbed.chaos.camera import CameraState
from janus_vit.testbed.chaos.device_process import StepClock
from janus_vit.testbed.chaos.rig import ChaosRig

_CUT_EVERY_S = 0.15
_CLOCK_STEP_S = 30.0
_SPARE_BYTES = 1_000_000  # of memory, on top of what the cloud uses
_FEW_BYTES = 100  # of records, more than a disk has taken so far


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: for reports.
        seconds: how long it lasts.
        inject: a context in which it goes wrong.
        freezes_devices: whether devices cannot run meanwhile.
        ends_cloud: whether the cloud process ends.
    """

    name: str
    seconds: float
    inject: Callable[[ChaosRig], AbstractContextManager[None]]
    freezes_devices: bool = False
    ends_cloud: bool = False


@contextmanager
def cloud_killed(rig: ChaosRig) -> Iterator[None]:
    """Kill the cloud, and start it again afterwards."""
    rig.kill_cloud()
    yield
    rig.restart_cloud()


@contextmanager
def cloud_frozen(rig: ChaosRig) -> Iterator[None]:
    """The cloud stops, with its connections open."""
    os.kill(rig.cloud.process_id, signal.SIGSTOP)
    yield
    os.kill(rig.cloud.process_id, signal.SIGCONT)


@contextmanager
def devices_frozen(rig: ChaosRig) -> Iterator[None]:
    """Devices stop, as when their lid is closed; to them, the clock and the network jump."""
    for process in rig.devices:
        os.kill(process.process_id, signal.SIGSTOP)
    yield
    for process in rig.devices:
        os.kill(process.process_id, signal.SIGCONT)


@contextmanager
def link_cut(rig: ChaosRig) -> Iterator[None]:
    """Connections are reset again and again, in the middle of messages."""
    ended = Event()

    def cut_again_and_again() -> None:
        while not ended.wait(_CUT_EVERY_S):
            rig.link.cut()

    Thread(target=cut_again_and_again, daemon=True).start()
    yield
    ended.set()


@contextmanager
def outage(rig: ChaosRig) -> Iterator[None]:
    """The link carries nothing, and connections stay open."""
    rig.link.is_silent = True
    yield
    rig.link.is_silent = False


@contextmanager
def link_slow(rig: ChaosRig) -> Iterator[None]:
    """The rate falls to a hundredth in one step."""
    before = rig.link.mbps
    rig.link.mbps = before / 100
    yield
    rig.link.mbps = before


@contextmanager
def bytes_changed(rig: ChaosRig) -> Iterator[None]:
    """Bits flip on the way, past every checksum of TCP."""
    rig.link.corrupted = 0.2
    yield
    rig.link.corrupted = 0.0


@contextmanager
def slow_loris(rig: ChaosRig) -> Iterator[None]:
    """Another client holds connections and streams without finishing a message."""
    with attackers.slow_loris(*rig.cloud_address, connections=50, streams=64):
        yield


@contextmanager
def flood(rig: ChaosRig) -> Iterator[None]:
    """Another client floods the cloud with garbage."""
    with attackers.flood(*rig.cloud_address):
        yield


@contextmanager
def clock_stepped(rig: ChaosRig) -> Iterator[None]:
    """The clock of the devices jumps ahead, in the middle of frames."""
    for process in rig.devices:
        rig.ask(process, StepClock(_CLOCK_STEP_S))
    yield


@contextmanager
def disk_full(rig: ChaosRig) -> Iterator[None]:
    """The disk takes a few more bytes of each file of records, and then none."""
    limits = [
        _limit(process.process_id, resource.RLIMIT_FSIZE, _largest_written(process.process_id) + _FEW_BYTES)
        for process in rig.devices
    ]
    yield
    for process, limit in zip(rig.devices, limits, strict=True):
        resource.prlimit(process.process_id, resource.RLIMIT_FSIZE, limit)


@contextmanager
def no_memory(rig: ChaosRig) -> Iterator[None]:
    """The cloud gets no more memory; if that ends it, it is started again."""
    used_bytes = int(Path(f"/proc/{rig.cloud.process_id}/statm").read_text().split()[0]) * resource.getpagesize()
    before = _limit(rig.cloud.process_id, resource.RLIMIT_AS, used_bytes + _SPARE_BYTES)
    process_id = rig.cloud.process_id
    yield
    rig.restart_cloud()
    if rig.cloud.process_id == process_id:
        resource.prlimit(process_id, resource.RLIMIT_AS, before)


def camera(state: CameraState) -> Callable[[ChaosRig], AbstractContextManager[None]]:
    """The cameras do something else than they should."""

    @contextmanager
    def inject(rig: ChaosRig) -> Iterator[None]:
        for process in rig.devices:
            rig.ask(process, state)
        yield
        for process in rig.devices:
            rig.ask(process, CameraState.WORKS)

    return inject


FAULTS = (
    Fault("cloud killed and restarted", 4.0, cloud_killed, ends_cloud=True),
    Fault("cloud frozen", 5.0, cloud_frozen),
    Fault("link cut in messages", 3.0, link_cut),
    Fault("outage", 10.0, outage),
    Fault("rate x 0.01", 5.0, link_slow),
    Fault("bytes changed", 4.0, bytes_changed),
    Fault("slow loris", 6.0, slow_loris),
    Fault("flood", 5.0, flood),
    Fault("clock of devices + 30 s", 1.0, clock_stepped),
    Fault("devices frozen", 3.0, devices_frozen, freezes_devices=True),
    Fault("disk full", 6.0, disk_full),
    Fault("no memory in the cloud", 4.0, no_memory, ends_cloud=True),
    Fault("camera stalls", 2.0, camera(CameraState.STALLS)),
    Fault("camera repeats", 2.0, camera(CameraState.REPEATS)),
    Fault("camera dies and returns", 3.0, camera(CameraState.IS_DEAD)),
)


def _limit(process_id: int, what: int, value: int) -> tuple[int, int]:
    """Set a soft limit of a process and return the limits before."""
    before = resource.prlimit(process_id, what)
    resource.prlimit(process_id, what, (value, before[1]))
    return before


def _largest_written(process_id: int) -> int:
    """Size of the largest file of records that a process has open."""
    sizes = [0]
    for link in Path(f"/proc/{process_id}/fd").iterdir():
        target = os.path.realpath(link)
        if target.endswith(".jsonl"):
            sizes.append(os.path.getsize(target))
    return max(sizes)
