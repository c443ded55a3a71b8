"""A cloud that may be absent: the device runs alone, and uses the cloud from the moment at which it answers.

A thread tries the handshake again and again. The device loop does not know of it: it sees a policy that has only local
plans until the cloud is found, and again if the cloud turns out to run another model or no longer knows the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from random import Random
from threading import Event, Lock, Thread
from typing import TypeAlias

from janus_vit.errors import InputError, JanusError, ModelMismatch, OtherModel, Unauthenticated
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.policies.base import Decision, Policy, Situation
from janus_vit.runtime.flights.calls import Call
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.runtime.transport import Probed
from janus_vit.wire.messages import Greeting, Reply, Request

_OTHER_MODEL = f"{OtherModel.__name__}: "
THREAD_NAME = "janus-search"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_SPREAD_S = 1.0  # in which devices shake hands whose connections return at the same moment
Watch: TypeAlias = Callable[[Callable[[], None]], AbstractContextManager[None]]


def jittered_pauses(random: Random) -> Iterator[float]:
    """Yield pauses in seconds that double up to half a minute, each times 0.5 to 1.

    Devices that lost the same cloud do not all return at the same moment.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s * random.uniform(0.5, 1.0)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


class CloudSearch:
    """Looks for a cloud until it answers with the right model; then its policy replaces the one without a cloud.

    Args:
        alone: policy that has only local plans.
        join: shakes hands with the cloud and makes a policy that uses it. Raises ModelMismatch if the cloud runs
            another model, Unauthenticated if it does not know this device, and other errors of this package if it
            cannot be used now.
        address: of the cloud, for messages.
        notify: called with one sentence each time something changes, also in a thread.
        pauses: seconds before each attempt; default: `jittered_pauses`.
        watch: calls back when the connection to the cloud has changed, until its block ends: see `Returns.watched`.
            The next attempt then follows within a second. Default: nothing ends a pause.
        random: spreads these attempts.
    """

    def __init__(
        self,
        alone: Policy,
        join: Callable[[], Policy],
        address: str,
        notify: Callable[[str], None],
        pauses: Iterator[float] | None = None,
        watch: Watch = lambda on_change: nullcontext(),
        random: Random | None = None,
    ) -> None:
        self._alone = alone
        self._join = join
        self._address = address
        self._notify = notify
        self._random = random or Random()
        self._pauses = pauses or jittered_pauses(self._random)
        self._watch = watch
        self._changed = Event()  # the connection, or the search has ended
        self._policy = alone
        self._changing = Lock()
        self._is_searching = False
        self._is_told_known: bool | None = None  # what was said last: whether the cloud knows this device
        self._ended = Event()  # closed, or the cloud is refused for good

    @property
    def policy(self) -> Policy:
        """The policy for the next frame."""
        return self._policy

    def begin(self, required: bool) -> None:
        """Try once. If the cloud cannot be used now, say so and go on trying in a thread.

        Args:
            required: True raises the error instead.

        Raises:
            InputError: the required cloud cannot be used.
            ModelMismatch: the required cloud runs another model.
        """
        if required:
            self._require()
        elif (problem := self._attempt()) is not None:
            if not isinstance(problem, Unauthenticated):  # which is told already
                self._notify(f"{problem}; until it answers, frames stay on this device")
            self._search()

    def doubt(self) -> None:
        """Use no cloud until a handshake shows that it still runs the same model, and knows this device."""
        with self._changing:
            self._policy = self._alone
        self._search()

    def unknown(self, error: Unauthenticated) -> None:
        """The cloud has refused a call, because it does not know this device. Say so, once until it does."""
        self._tell(error)
        self.doubt()

    def close(self) -> None:
        """End the search."""
        self._ended.set()
        self._changed.set()

    def _require(self) -> None:
        try:
            self._use()
        except Unauthenticated as error:
            raise InputError(str(error)) from error

    def _search(self) -> None:
        """Start the thread, unless one runs."""
        with self._changing:
            if not self._is_searching and not self._ended.is_set():
                self._is_searching = True
                Thread(target=self._attempt_until_settled, name=THREAD_NAME, daemon=True).start()

    def _attempt_until_settled(self) -> None:
        was_cut = False
        with self._watch(self._changed.set):
            while not self._ended.is_set():
                was_cut = self._pause(next(self._pauses), is_whole=was_cut)
                if self._ended.is_set() or self._attempt() is None:
                    return

    def _pause(self, pause_s: float, is_whole: bool) -> bool:
        """Wait so long, or less if the connection changes. Return whether it was less.

        Args:
            pause_s: time to wait.
            is_whole: True waits all of it, so that a connection which comes and goes doubles the attempts at most.
        """
        if is_whole:
            self._ended.wait(pause_s)
            return False
        if not self._changed.wait(pause_s):
            return False
        self._changed.clear()
        self._ended.wait(self._random.uniform(0.0, _SPREAD_S))
        return True

    def _attempt(self) -> JanusError | None:
        """Return why the cloud cannot be used now; None if it is used or refused."""
        try:
            self._use()
        except ModelMismatch as error:
            self._refuse(error)
        except Unauthenticated as error:
            self._changed.clear()  # it has answered on this connection
            self._tell(error)
            return error
        except JanusError as error:
            return error
        return None

    def _use(self) -> None:
        joined = self._join()
        with self._changing:
            self._policy, self._is_searching = joined, False
        self._tell(None)

    def _tell(self, unknown: Unauthenticated | None) -> None:
        """Say that the cloud is used, or that it does not know this device, unless that was said last."""
        is_known = unknown is None
        with self._changing:
            is_news, self._is_told_known = self._is_told_known is not is_known, is_known
        if is_news:
            found = f"connected to {self._address}"
            self._notify(found if is_known else f"{unknown}; until it does, frames stay on this device")

    def _refuse(self, error: ModelMismatch) -> None:
        """Never use this cloud again: its activations would mean something else."""
        self._ended.set()
        self._policy = self._alone
        self._notify(f"{error}; this cloud is not used, and frames stay on this device")


class SearchedPolicy:
    """The policy of a search, whichever it is at the moment. Doubts a cloud that refuses frames as another model's.

    Args:
        search: has the policy.
    """

    def __init__(self, search: CloudSearch) -> None:
        self._search = search

    def observe(self, outcome: Outcome) -> None:
        """See `Policy.observe`."""
        self._search.policy.observe(outcome)
        refusal = (outcome.fallback or "") if outcome.refused else ""
        told_late = any(_OTHER_MODEL in sentence for sentence in outcome.impossible)
        if refusal.startswith(_OTHER_MODEL) or told_late:
            self._search.doubt()

    def choose(self, situation: Situation) -> Decision:
        """See `Policy.choose`."""
        return self._search.policy.choose(situation)


class SearchedTransport:
    """A transport whose cloud is looked for.

    Args:
        transport: reaches the cloud.
        search: ends with the transport.
    """

    def __init__(self, transport: GrpcTransport, search: CloudSearch) -> None:
        self._transport = transport
        self._search = search

    def hello(self, timeout_s: float) -> Greeting:
        """See `Transport.hello`."""
        return self._transport.hello(timeout_s)

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """See `Transport.infer`."""
        return self._transport.infer(request, timeout_s)

    def start(self, request: Request, timeout_s: float) -> Call:
        """See `Calls.start`."""
        return self._transport.start(request, timeout_s)

    def wait(self, calls: Sequence[Call], timeout_s: float) -> None:
        """See `Calls.wait`."""
        self._transport.wait(calls, timeout_s)

    def probe(self, size_bytes: int, timeout_s: float) -> Future[Probed]:
        """See `Transport.probe`."""
        return self._transport.probe(size_bytes, timeout_s)

    def close(self) -> None:
        """See `Transport.close`."""
        self._search.close()
        self._transport.close()
