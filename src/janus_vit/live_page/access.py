"""Who may see a live page: a token as devices have it, accepted once and then kept in a session."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping

from janus_vit.wire.addresses import LOOPBACK_HOSTS

Identify = Callable[[str], str | None]
_SESSIONS = 4_096
_SESSIONS_OF_TOKEN = 32  # a page has so many browsers at once
_LONGEST_TOKEN = 512  # characters
_BEARER = "bearer "


class Access:
    """Checks tokens and remembers sessions. A session holds its token, so that revoking the token ends it.

    Args:
        identify: returns the name that belongs to a token, None if the token is not valid; None lets everybody in.
        host: where the page listens.
        port: port of the page. Browsers send cookies to all ports of a host, so the cookie's name has it.
        certified: whether browsers have proven who they are before, by certificates.
    """

    def __init__(self, identify: Identify | None, host: str, port: int, certified: bool = False) -> None:
        self._identify = identify
        self._host = host
        self._certified = certified
        self._tokens: OrderedDict[str, str] = OrderedDict()  # by session
        self.cookie = f"janus-page-{port}"

    @property
    def anonymous(self) -> bool:
        """Whether everybody is let in."""
        return self._identify is None

    @property
    def hosts(self) -> list[str]:
        """Names by which a browser may ask for the page.

        Without tokens and certificates only those of this machine: a foreign page could let its own name point to it.
        """
        return [*LOOPBACK_HOSTS, self._host] if self.anonymous and not self._certified else ["*"]

    def admits(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> bool:
        """Whether a request has a valid session, or a valid token as "Authorization: Bearer TOKEN"."""
        return self.anonymous or self.caller(headers, cookies) is not None

    def caller(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> str | None:
        """Name that belongs to the token of a request or of its session; None without a valid one."""
        authorization = headers.get("authorization", "")
        if authorization.lower().startswith(_BEARER):
            return self._name(authorization[len(_BEARER) :].strip())
        return self._name(self._tokens.get(cookies.get(self.cookie, ""), ""))

    def open_session(self, token: str) -> str | None:
        """Begin a session, and return the value of its cookie; None if the token is not valid.

        The oldest sessions of the same token make room for it.
        """
        session = secrets.token_urlsafe(32)
        if self.anonymous:
            return session  # which nobody asks for
        if self._name(token) is None:
            return None
        others = [each for each, its_token in self._tokens.items() if its_token == token]
        for oldest in others[: -(_SESSIONS_OF_TOKEN - 1)]:
            del self._tokens[oldest]
        self._tokens[session] = token
        while len(self._tokens) > _SESSIONS:
            self._tokens.popitem(last=False)
        return session

    def _name(self, token: str) -> str | None:
        return self._identify(token) if self._identify is not None and 0 < len(token) <= _LONGEST_TOKEN else None
