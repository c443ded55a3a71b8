"""Several processes that receive, check and decode requests for the one process that owns the engine.

All processes listen on the same port; each serves a part of the connections. If one crashes, only its own requests
fail, and a new process replaces it.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor

from janus_vit.cloud.access.settings import Access, Gate
from janus_vit.cloud.ingest import Ingest
from janus_vit.cloud.loop import EngineLoop
from janus_vit.cloud.processes.pipe import Pipe, Record
from janus_vit.cloud.processes.remote import RemoteBackend, RemoteSession
from janus_vit.cloud.processes.shared_frames import largest_frame_bytes, slots_memory
from janus_vit.cloud.processes.supervisor import Member, Supervisor
from janus_vit.cloud.rpc.server import GrpcServer
from janus_vit.cloud.service import CloudService
from janus_vit.errors import InputError, JanusError, Unreachable
from janus_vit.planning.plan import ModelShape
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.scheduler import Load
from janus_vit.wire.messages import Greeting

_START_TIMEOUT_S = 180.0  # on a machine whose CPU others hold
_STOP_TIMEOUT_S = 5.0
_LOOK_S = 0.5  # between two looks at whether the server still serves


@dataclass(frozen=True, slots=True)
class IngestSetup:
    """Settings of an ingest process.

    Attributes:
        greeting: the cloud's reply to Hello; it has the model's fingerprint.
        shape: shape of the model.
        address: "host:port" that all processes share.
        config: limits.
        access: who may call; each process reads its files.
        load: load of the cloud at the start.
    """

    greeting: Greeting
    shape: ModelShape
    address: str
    config: CloudConfig
    access: Access
    load: Load


class IngestPool:
    """Starts the ingest processes, and replaces each one that ends before `close`.

    Args:
        setup: settings of every process.
        loop: computes the requests.
        on_record: called for every request when it has ended, every report of a stream and every traced request.

    Raises:
        JanusError: a process could not start to serve; the message says why.
    """

    def __init__(self, setup: IngestSetup, loop: EngineLoop, on_record: Callable[[Record], None]) -> None:
        self._setup = setup
        self._loop = loop
        self._on_record = on_record
        self._closed = threading.Event()
        self._context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
        self._supervisors: list[Supervisor] = []
        try:
            for index in range(setup.config.ingest_processes):
                self._supervisors.append(Supervisor(index, self._start, self._closed))
        except BaseException:
            self.close()
            raise

    @property
    def process_ids(self) -> list[int]:
        """Process numbers of the ingest processes that serve now."""
        return [member.process.pid for member in self._members() if member.process.pid]

    @property
    def failure(self) -> str | None:
        """Why processes are no longer replaced; None if they are."""
        return next((each.failure for each in self._supervisors if each.failure is not None), None)

    def drain(self) -> None:
        """Refuse new requests; admitted ones are still answered."""
        self._closed.set()
        for member in self._members():
            member.session.drain()

    def close(self) -> None:
        """Stop all processes."""
        self._closed.set()
        members = self._members()
        for member in members:
            member.process.terminate()
        for member in members:
            member.process.join(_STOP_TIMEOUT_S)
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
            member.session.join()

    def _members(self) -> list[Member]:
        return [member for supervisor in self._supervisors if (member := supervisor.member) is not None]

    def _start(self, index: int) -> Member:
        """Start a process, and wait until it serves.

        Raises:
            JanusError: it cannot start.
        """
        try:
            return self._started(index)
        except (OSError, RuntimeError) as error:  # torch has no shared memory left, or the system no process or file
            reason = str(error).partition("\n")[0]
            raise Unreachable(
                f"the system lets no ingest process start ({reason}): free memory, processes or files"
            ) from error

    def _started(self, index: int) -> Member:
        slots = self._setup.config.slots_per_process
        memory = slots_memory(slots, largest_frame_bytes(self._setup.shape))
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, memory, self._setup), name=f"janus-ingest-{index}", daemon=True
        )
        try:
            with theirs:
                process.start()
            _wait_until_it_serves(ours)
        except BaseException:
            ours.close()
            if process.pid is not None:
                process.kill()
                process.join()
            raise
        session = RemoteSession(index, ours, memory, self._loop, self._loop.load, self._on_record)
        return Member(process, session)


class PortReservation:
    """Reserves a port on which several processes can listen together.

    Args:
        listen: "host:port"; port 0 picks a free one.

    Raises:
        InputError: nothing can listen on the address.
    """

    def __init__(self, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind, protocol) as alone:  # fails if anybody listens there
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
                address = alone.getsockname()
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._socket.bind(address)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot listen on {listen}: choose a free port and an address of this machine") from error
        self.port: int = address[1]
        self.address = f"{host}:{self.port}"

    def close(self) -> None:
        """Free the port."""
        self._socket.close()


def _wait_until_it_serves(connection: Connection) -> None:
    if not connection.poll(_START_TIMEOUT_S):
        raise Unreachable("an ingest process did not start in time")
    try:
        problem = connection.recv()
    except (EOFError, OSError) as error:
        raise Unreachable("an ingest process stopped while it started") from error
    if problem is not None:
        raise problem


def _serve(connection: Connection, memory: Tensor, setup: IngestSetup) -> None:
    """Main function of an ingest process: serve until it is terminated or the engine's process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one decides
    torch.set_num_threads(1)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    pipe = Pipe(connection)
    holder: list[GrpcServer] = []

    def drain() -> None:
        service.drain()
        for server in holder:
            server.drain()

    backend = RemoteBackend(pipe, memory, setup.load, drain, stop.set)
    ingest = Ingest(setup.shape, setup.greeting.fingerprint)
    service = CloudService(setup.greeting, ingest, backend, on_ended=pipe.send, on_report=pipe.send, on_trace=pipe.send)
    try:
        holder.append(GrpcServer(service, setup.address, setup.config, Gate(setup.access), shares_port=True))
    except JanusError as error:
        connection.send(error)
        return
    connection.send(None)
    while not stop.wait(_LOOK_S) and holder[0].failure is None:
        pass
    holder[0].stop(grace_s=0.0)
    if holder[0].failure is not None:
        sys.exit(f"{holder[0].failure}: this ingest process ends")
