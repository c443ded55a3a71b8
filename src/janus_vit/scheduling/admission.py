"""Whether a job is taken: limits, deadlines against all that is admitted, and fair shares among clients."""

from __future__ import annotations

from collections import defaultdict

from janus_vit.errors import Overloaded, Rejected
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.estimate import Correction
from janus_vit.scheduling.queue import DeadlineQueue, Waiting


class Shares:
    """How many jobs each client holds, and who holds most."""

    def __init__(self) -> None:
        self.total = 0
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
        self.total += 1

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
        self.total -= 1

    def to_evict_for(self, client: str) -> Waiting | None:
        """The newest waiting job of the client that holds most, if it holds at least two more than `client`."""
        most = max((count for count, clients in self._clients.items() if clients), default=0)
        for count in range(most, self.held(client) + 1, -1):
            for heavy in self._clients[count]:
                for waiting in reversed(self._held[heavy].values()):
                    if not waiting.running:
                        return waiting
        return None


class Admission:
    """Takes jobs into the queue or refuses them.

    Args:
        queue: of admitted jobs.
        correction: of predictions.
        config: limits.
    """

    def __init__(self, queue: DeadlineQueue, correction: Correction, config: CloudConfig) -> None:
        self._queue = queue
        self._correction = correction
        self._config = config
        self.shares = Shares()

    def admit(self, waiting: Waiting, now_s: float, free_s: float) -> Waiting | None:
        """Put a job into the queue.

        A job that does not fit is refused, unless its client holds less than its share: then the newest job of the
        client that holds most has to go.

        Args:
            waiting: the job.
            now_s: present time.
            free_s: time at which the engine is free.

        Returns:
            The job that has to go, which is still in the queue.

        Raises:
            Rejected: its client holds its limit.
            Overloaded: it cannot be in time given what is admitted, or too many wait.
        """
        client, limit = waiting.job.client, self._config.waiting_per_client
        if self.shares.held(client) >= limit:
            raise Rejected(
                f"client {client!r} already has {limit} requests waiting: wait for answers before sending more"
            )
        full = self.shares.total >= self._config.waiting_total
        self._queue.insert(waiting)
        if not full and self._queue.fits(waiting, free_s):
            return None
        evicted = self.shares.to_evict_for(client)
        if evicted is not None and self._fits_without(evicted, waiting, free_s):
            return evicted
        self._queue.remove(waiting)
        raise self._refusal(waiting, now_s, free_s, full)

    def _fits_without(self, evicted: Waiting, waiting: Waiting, free_s: float) -> bool:
        self._queue.remove(evicted)
        fits = self._queue.fits(waiting, free_s)
        self._queue.insert(evicted)
        return fits

    def _refusal(self, waiting: Waiting, now_s: float, free_s: float, full: bool) -> Overloaded:
        wait_s = self._queue.wait_s(now_s, free_s)
        advice = "finish on the device, or send again later"
        if full:
            reason = f"the cloud already has {self.shares.total} requests waiting"
            return Overloaded(f"{reason}, and one more would wait {1e3 * wait_s:.0f} ms: {advice}", wait_s)
        compute_s = self._correction.factor * waiting.rest_s(waiting.position, 0.0)
        left_s = waiting.job.deadline_s - now_s
        return Overloaded(
            f"cannot answer in time: expected wait {1e3 * wait_s:.1f} ms and compute {1e3 * compute_s:.1f} ms, "
            f"but {1e3 * left_s:.1f} ms are left: {advice}",
            wait_s,
        )
