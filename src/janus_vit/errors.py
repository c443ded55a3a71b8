"""Every error that this package raises on purpose. Foreign exceptions are translated at the border.

    JanusError
    |-- InputError        what the user gave cannot be used: a file, an option, a value
    |-- WireError         bytes from the other side are not what they should be
    |   `-- ModelMismatch     they belong to another model
    `-- TransportError    the cloud did not answer
        |-- Unreachable       no connection, or it broke
        |-- DeadlineExceeded  no answer in the time that was left
        `-- Rejected          the cloud answered with a refusal (other model, overload, bad request)

Each message is one sentence that says what is wrong, where (file, line, field) and how to mend it.
"""

from __future__ import annotations


class JanusError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(JanusError):
    """A file, an option or a value from the user cannot be used. The command line exits with 2."""


class WireError(JanusError):
    """Bytes from the other side are truncated, oversized, of another version or inconsistent."""


class ModelMismatch(WireError):
    """The other side runs another model."""


class TransportError(JanusError):
    """The cloud did not answer a request."""


class Unreachable(TransportError):
    """No connection to the cloud could be made, or it broke before the answer."""


class DeadlineExceeded(TransportError):
    """No answer arrived in the time that was left for it."""


class Rejected(TransportError):
    """The cloud refused the request: another model, overload, or a request that it cannot read."""
