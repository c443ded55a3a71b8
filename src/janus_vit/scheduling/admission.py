"""Whether a job is taken: limits, deadlines against all that is admitted, and fair shares among clients."""

from __future__ import annotations

from collections import defaultdict

from janus_vit.errors import Overloaded, Rejected
from janus_vit.scheduling.queue import Waiting


class Shares:
    """How many jobs each client holds, and who holds most."""

    def __init__(self) -> None:
        self._held: dict[str, dict[int, Waiting]] = {}
        self._clients: defaultdict[int, dict[str, None]] = defaultdict(dict)  # by how many jobs they hold

    def held(self, client: str) -> int:
        """Jobs that a client holds."""
        return len(self._held.get(client, ()))

    def add(self, waiting: Waiting) -> None:
        """Count an admitted job."""
        client = waiting.job.client
        mine = self._held.setdefault(client, {})
        self._clients[len(mine)].pop(client, None)
        mine[waiting.job.id] = waiting
        self._clients[len(mine)][client] = None

    def remove(self, waiting: Waiting) -> None:
        """Forget a job that is over."""
        client = waiting.job.client
        mine = self._held[client]
        self._clients[len(mine)].pop(client)
        del mine[waiting.job.id]
        if mine:
            self._clients[len(mine)][client] = None
        else:
            del self._held[client]

    def to_evict_for(self, client: str) -> Waiting | None:
        """The newest waiting job of the client that holds most, if it holds two more than `client`."""
        most = max((count for count, clients in self._clients.items() if clients), default=0)
        for count in range(most, self.held(client) + 1, -1):
            for heavy in self._clients[count]:
                for waiting in reversed(self._held[heavy].values()):
                    if not waiting.running:
                        return waiting
        return None


def refuse_client(client: str, limit: int) -> Rejected:
    """The refusal of a client that holds its limit."""
    return Rejected(f"client {client!r} already has {limit} requests waiting: wait for answers before sending more")


def refuse_full(limit: int, wait_s: float) -> Overloaded:
    """The refusal of a full cloud."""
    return Overloaded(
        f"the cloud already has {limit} requests waiting, and one more would wait {1e3 * wait_s:.0f} ms: "
        "finish on the device, or send again later",
        wait_s,
    )


def refuse_late(wait_s: float, compute_s: float, left_s: float) -> Overloaded:
    """The refusal of a job that cannot be in time."""
    return Overloaded(
        f"cannot answer in time: expected wait {1e3 * wait_s:.1f} ms and compute {1e3 * compute_s:.1f} ms, "
        f"but {1e3 * left_s:.1f} ms are left: finish on the device, or send again later",
        wait_s,
    )
