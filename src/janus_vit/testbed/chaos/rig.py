"""The processes and the link that faults are injected into: a cloud, devices, and the link between them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from janus_vit.errors import Unreachable
from janus_vit.testbed.chaos.device_process import DevicesSetup, StopStreams, Streamed, serve_devices
from janus_vit.testbed.chaos.link import FailingLink
from janus_vit.testbed.child_process import ChildProcess
from janus_vit.testbed.cloud_process import CloudProcess, CloudSetup

_ANSWER_TIMEOUT_S = 60.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of both sides at one moment.

    Attributes:
        at_s: by `time.perf_counter`.
        cloud: number of cloud processes so far.
        cloud_mb: of the cloud process.
        devices_mb: of the processes of devices, added up.
    """

    at_s: float
    cloud: int
    cloud_mb: float
    devices_mb: float


class ChaosRig:
    """Starts a cloud, a link to it and processes of devices.

    Args:
        cloud: the cloud.
        groups: the devices of each process; the rig fills in the address.
        delay_s: one-way delay of the link.

    Attributes:
        link: between the devices and the cloud.
        cloud: the cloud process of the moment.
        devices: the processes of devices.

    Raises:
        JanusError: the cloud did not start.
    """

    def __init__(self, cloud: CloudSetup, groups: Sequence[DevicesSetup], delay_s: float) -> None:
        self.cloud = CloudProcess(cloud)
        self._clouds = 1
        self._setup = replace(cloud, port=self.cloud.port)
        self.link = FailingLink(cloud.host, self.cloud.port, delay_s=delay_s)
        self.devices = [ChildProcess("a process of devices", serve_devices) for _ in groups]
        for process, group in zip(self.devices, groups, strict=True):
            process.send(replace(group, address=self.link.address))

    @property
    def cloud_address(self) -> tuple[str, int]:
        """Host and port of the cloud itself."""
        return self._setup.host, self._setup.port

    def kill_cloud(self) -> None:
        """Kill the cloud as the kernel does when memory is short."""
        os.kill(self.cloud.process_id, signal.SIGKILL)

    def restart_cloud(self) -> None:
        """Start the cloud again at its address, if it has ended, as a service manager does."""
        if not _is_running(self.cloud.process_id):
            self.cloud.close()
            self.cloud = CloudProcess(self._setup)
            self._clouds += 1

    def ask(self, process: ChildProcess, command: object = None) -> list[Streamed]:
        """Send a command to the devices of a process, and return what they did so far.

        Raises:
            Unreachable: the process has ended.
        """
        process.send(command)
        streamed: list[Streamed] = process.receive(_ANSWER_TIMEOUT_S)
        return streamed

    def streamed(self) -> list[Streamed]:
        """What each device did so far; of a process that has ended, that it failed."""
        return [each for process in self.devices for each in self._streamed_by(process)]

    def stop_streams(self) -> None:
        """Let the devices take no more frames. A process that has ended is left alone."""
        for process in self.devices:
            with suppress(Unreachable):
                self.ask(process, StopStreams())

    def memory(self) -> Memory:
        """Resident memory now."""
        devices = sum(_resident_mb(process.process_id) for process in self.devices)
        return Memory(time.perf_counter(), self._clouds, _resident_mb(self.cloud.process_id), devices)

    def _streamed_by(self, process: ChildProcess) -> list[Streamed]:
        try:
            return self.ask(process)
        except Unreachable as error:
            return [Streamed(ended=True, failure=str(error))]

    def close(self) -> None:
        """Stop everything."""
        for process in self.devices:
            process.close()
        self.link.close()
        self.cloud.close()

    def __enter__(self) -> ChaosRig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_running(process_id: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _resident_mb(process_id: int) -> float:
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6
    return 0.0
