"""What Python's OpenSSL accepts in a certificate: kinds of keys that gRPC does not take, and dates that are over.

Python's standard library shows no field of a server's own certificate, so the few that matter are found in its bytes.
"""

from __future__ import annotations

import re
import ssl
from datetime import datetime, timezone

from janus_vit.errors import InputError

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_RSA, _EC = "06092a864886f70d010101", "06072a8648ce3d0201"
_KEYS = tuple(
    bytes.fromhex(key) for key in (_RSA, f"{_EC}06082a8648ce3d030107", f"{_EC}06052b81040022")
)  # P-256, P-384
_TIME = rb"(?:\x17\x0d(\d{12})Z|\x18\x0f(\d{14})Z)"  # two or four digits of the year
_VALIDITY = re.compile(rb"\x30[\x1e\x20\x22]" + 2 * _TIME)


def check_key(chain: bytes) -> None:
    """Require that gRPC takes the key of the first certificate of a chain.

    Args:
        chain: certificates that OpenSSL can read, PEM.

    Raises:
        InputError: it is of another kind.
    """
    if not any(key in _first(chain) for key in _KEYS):
        raise InputError(
            "its key is of a kind that gRPC does not take: make a certificate with an RSA key, or an EC key on "
            "P-256 or P-384"
        )


def check_dates(chain: bytes, now: datetime) -> None:
    """Require that the first certificate of a chain is valid now.

    Args:
        chain: certificates that OpenSSL can read, PEM.
        now: present time.

    Raises:
        InputError: it is not.
    """
    validity = _VALIDITY.search(_first(chain))
    if validity is None:
        raise InputError("holds no X.509 certificate in PEM form: check the file")
    begins, ends = _time(validity[1], validity[2]), _time(validity[3], validity[4])
    if now > ends:
        raise InputError(f"expired on {ends:%Y-%m-%d at %H:%M} UTC: renew it")
    if now < begins:
        raise InputError(f"is not valid before {begins:%Y-%m-%d, %H:%M} UTC: check the clock of this machine")


def _first(chain: bytes) -> bytes:
    """The first certificate of a chain, DER; empty if there is none."""
    found = _PEM.search(chain.decode("utf-8", "replace"))
    return b"" if found is None else ssl.PEM_cert_to_DER_cert(found[0])


def _time(short: bytes | None, long: bytes | None) -> datetime:
    """A time of a certificate; a short year from 50 on is of the last century."""
    text = (long or b"").decode("ascii")
    if short is not None:
        text = ("19" if short >= b"50" else "20") + short.decode("ascii")
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
