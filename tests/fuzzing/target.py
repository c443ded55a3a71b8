"""What is fuzzed, and what must hold: only our own errors, bounded time and memory."""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from fuzzing.mutation import Mutate, mutate_bytes
from janus_vit.errors import JanusError

_TRIES = 4  # the time of one run also depends on what else the machine does
_LARGEST_MESSAGE = 5_000  # characters


@dataclass(frozen=True)
class Target:
    """A decoder of data from the network or from a file.

    Attributes:
        name: its name.
        run: decodes; raises a `JanusError` for data that it refuses.
        seeds: valid data.
        mutate: changes valid data.
        limit_s: longest CPU time of one run in this thread.
        limit_bytes: most memory by which one run may raise the peak of the process.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    mutate: Mutate = mutate_bytes
    limit_s: float = 0.02
    limit_bytes: int = 32 << 20

    def example(self, seed: str) -> bytes:
        """Return the changed data of a seed; the same each time."""
        random = Random(f"{self.name} {seed}")
        return self.changed(random.choice(self.seeds), random)

    def changed(self, data: bytes, random: Random) -> bytes:
        """Change data, as bytes if it is too damaged to be changed in the target's own way."""
        try:
            return self.mutate(data, random)
        except Exception:
            return mutate_bytes(data, random)


class Violation(Exception):
    """Data made a decoder do what it must not."""


def check(target: Target, data: bytes) -> bool:
    """Run a target once; return whether it took the data.

    Raises:
        Violation: it raised a foreign error, or needed too much time or memory.
    """
    before_bytes = _peak_bytes()
    taken, least_s = _timed(target, data)
    grown_bytes = _peak_bytes() - before_bytes
    for _ in range(_TRIES):
        if least_s <= target.limit_s:
            break
        least_s = min(least_s, _timed(target, data)[1])
    if least_s > target.limit_s:
        raise Violation(f"{target.name}: took {1e3 * least_s:.0f} ms, at most {1e3 * target.limit_s:.0f} are allowed")
    if grown_bytes > target.limit_bytes:
        raise Violation(f"{target.name}: needed {grown_bytes >> 20} MiB")
    return taken


def _timed(target: Target, data: bytes) -> tuple[bool, float]:
    began_s = time.thread_time()
    try:
        target.run(data)
        taken = True
    except JanusError as error:
        taken = False
        if len(str(error)) > _LARGEST_MESSAGE:
            raise Violation(f"{target.name}: a message of {len(str(error))} characters") from error
    except Exception as error:
        where = "".join(traceback.format_exception(error)[-4:])
        raise Violation(f"{target.name}: {type(error).__name__}: {str(error)[:300]}\n{where}") from error
    return taken, time.thread_time() - began_s


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
