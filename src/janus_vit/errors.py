"""Every error that this package raises on purpose. Errors of other libraries are translated where they occur.

    JanusError
    |-- InputError        a file, an option or a value from the user cannot be used
    |-- CloudFailed       a part of the cloud has ended by itself
    |-- WireError         bytes from the other side cannot be read
    |   `-- ModelMismatch     the other side runs another model
    `-- TransportError    the cloud did not answer
        |-- Unreachable       no connection, or the connection broke
        |-- DeadlineExceeded  no answer in the time that was left
        `-- Rejected          the cloud refused the request
            |-- OtherModel        it runs another model
            |-- Unauthenticated   it does not know the device
            `-- Overloaded        it cannot answer in time, or too many requests wait

Each message is one sentence: what is wrong, where (file, line, field), and how to fix it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from janus_vit.planning.price import EnginePrice


_LONGEST, _LAST = 4_000, 500  # characters of a message, and of its end that is kept


class JanusError(Exception):
    """Base class of every error that this package raises on purpose.

    Long messages lose their middle, because they quote files and names that others wrote.
    """

    def __init__(self, message: str) -> None:
        is_short = len(message) <= _LONGEST
        super().__init__(message if is_short else f"{message[: _LONGEST - _LAST]} ... {message[-_LAST:]}")


class InputError(JanusError):
    """A file, an option or a value from the user cannot be used. The command line exits with status 2."""


class CloudFailed(JanusError):
    """A part without which a cloud serves nothing has ended by itself. The command line exits with status 3."""


class WireError(JanusError):
    """Bytes from the other side are truncated, oversized, inconsistent or of another version."""


class ModelMismatch(WireError):
    """The other side runs another model."""


class TransportError(JanusError):
    """The cloud did not answer a request."""


class Unreachable(TransportError):
    """No connection to the cloud, or the connection broke before the answer."""


class DeadlineExceeded(TransportError):
    """No answer arrived in the time that was left."""


class Rejected(TransportError):
    """The cloud refused the request: another model, overload, or a request that it cannot read.

    Attributes:
        impossible: what the refusal tells of the cloud's load that cannot be right, a sentence each.
    """

    impossible: tuple[str, ...] = ()


class OtherModel(Rejected):
    """The cloud refused the request because it runs another model."""


class TooMany(Rejected):
    """The cloud refused the request because this device already has too many on their way, or all devices together."""


class Unauthenticated(Rejected):
    """The cloud does not know the device: its token or certificate is missing, wrong or revoked."""


class Overloaded(Rejected):
    """The cloud cannot answer in time, or too many requests wait.

    Attributes:
        expected_wait_s: time that a request arriving now would wait.
        price: what such a request would cost; None if the cloud did not tell.
    """

    def __init__(self, message: str, expected_wait_s: float = 0.0, price: EnginePrice | None = None) -> None:
        super().__init__(message)
        self.expected_wait_s = expected_wait_s
        self.price = price


def described(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]
