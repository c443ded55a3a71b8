"""The live page as a web application: the page, its data, and the form for a token. Knows no cloud and no device."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from janus_vit.cloud.access.callers import network_of
from janus_vit.live_page.access import Access
from janus_vit.live_page.answers import Answers
from janus_vit.live_page.broadcast import Broadcast, TooManyViewers
from janus_vit.live_page.feed import COLUMNS, KEPT, PERIOD_S, POINT, SENT, Feed

_FILES = files("janus_vit") / "data/live_page"
_KINDS = {"page.css": "text/css", "page.js": "text/javascript", "charts.js": "text/javascript"}
_LARGEST_FORM_BYTES = 4_096
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def make_app(feed: Feed, broadcast: Broadcast, access: Access, secure: bool = False) -> Starlette:
    """Make the application.

    Args:
        feed: what the page shows.
        broadcast: sends the updates.
        access: who may see the page.
        secure: whether the page is served with TLS, so that cookies never go without it.
    """
    pages = _Pages(feed, broadcast, access, secure)
    routes = [
        Route("/", pages.page),
        Route("/token", pages.token, methods=["POST"]),
        Route("/history", pages.history),
        Route("/events", pages.events),
        Route("/records", pages.records),
        Route("/metrics", pages.metrics),
        *(Route(f"/{name}", _static(name, kind)) for name, kind in _KINDS.items()),
    ]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=access.hosts, www_redirect=False)]
    return Starlette(routes=routes, middleware=middleware)


class _Pages:
    def __init__(self, feed: Feed, broadcast: Broadcast, access: Access, secure: bool) -> None:
        self._feed, self._broadcast, self._access, self._secure = feed, broadcast, access, secure
        self._answers = Answers(lambda: broadcast.updates)
        self._index, self._form = _template("index.html"), _template("token.html")

    async def page(self, request: Request) -> Response:
        """The page, or the form for a token. A token in the address is taken out of it."""
        token = request.query_params.get("token")
        if token is not None:
            return self._begin(token)
        if not self._admits(request):
            return HTMLResponse(self._form.render(refused=False), 401, _HEADERS)
        settings = {
            "tiles": [asdict(tile) for tile in self._feed.tiles],
            "columns": COLUMNS,
            "point": POINT,
            "sent": SENT,
            "period_s": PERIOD_S,
            "kept": KEPT,
        }
        html = self._index.render(
            title=self._feed.title,
            subtitle=self._feed.subtitle,
            settings=json.dumps(settings),
            has_metrics=self._feed.has_metrics,
        )
        return HTMLResponse(html, headers=_HEADERS)

    async def token(self, request: Request) -> Response:
        """Take a token from the form."""
        body = b""
        try:
            async for part in request.stream():
                body += part
                if len(body) > _LARGEST_FORM_BYTES:
                    return Response("the form is too large", 413, _HEADERS)
        except ClientDisconnect:  # nobody reads an answer
            return Response(status_code=400)
        return self._begin(parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip())

    async def history(self, request: Request) -> Response:
        """The last two minutes."""
        return self._answer(request, self._broadcast.history, "application/json")

    async def events(self, request: Request) -> Response:
        """Updates, as server-sent events, as long as the token stays valid."""
        refusal = self._checked(request)
        if refusal is not None:
            return refusal
        try:
            waiting = self._broadcast.join(self._caller(request))
        except TooManyViewers:
            return Response("too many browsers show this page: close one", 503, _HEADERS)

        async def admitted() -> AsyncIterator[bytes]:
            async for event in self._broadcast.events(waiting):
                if not self._admits(request):
                    return
                yield event

        headers = {**_HEADERS, "X-Accel-Buffering": "no"}
        return StreamingResponse(admitted(), headers=headers, media_type="text/event-stream")

    async def records(self, request: Request) -> Response:
        """The last frames or requests, one JSON object per line."""
        attached = {"Content-Disposition": 'attachment; filename="records.jsonl"'}
        return self._answer(request, self._lines, "application/jsonl", attached)

    async def metrics(self, request: Request) -> Response:
        """Prometheus metrics."""
        if self._feed.has_metrics or not self._admits(request):
            return self._answer(request, self._feed.metrics, "text/plain; version=0.0.4")
        return Response("this page has no metrics", 404, _HEADERS)

    def _lines(self) -> bytes:
        return "".join(json.dumps(record) + "\n" for record in self._feed.records()).encode()

    def _answer(
        self, request: Request, make: Callable[[], bytes], kind: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        refusal = self._checked(request)
        if refusal is not None:
            return refusal
        if not self._answers.grant(self._caller(request)):
            return Response("too many requests at once: ask again", 429, {**_HEADERS, "Retry-After": "1"})
        zipped = "gzip" in request.headers.get("accept-encoding", "")
        encoding = {"Content-Encoding": "gzip"} if zipped else {}
        body = self._answers.get(request.url.path, make, zipped)
        all_headers = {**_HEADERS, "Vary": "Accept-Encoding", **encoding, **(headers or {})}
        return Response(body, headers=all_headers, media_type=kind)

    def _admits(self, request: Request) -> bool:
        return self._access.admits(request.headers, request.cookies)

    def _caller(self, request: Request) -> str:
        address = "" if request.client is None else request.client.host
        return self._access.caller(request.headers, request.cookies) or network_of(address)

    def _checked(self, request: Request) -> Response | None:
        if self._admits(request):
            return None
        headers = {**_HEADERS, "WWW-Authenticate": "Bearer"}
        return Response("a valid token is needed: open the page and enter it", 401, headers)

    def _begin(self, token: str) -> Response:
        session = self._access.open_session(token)
        if session is None:
            return HTMLResponse(self._form.render(refused=True), 401, _HEADERS)
        response = RedirectResponse("/", 303, _HEADERS)
        response.set_cookie(self._access.cookie, session, httponly=True, samesite="strict", secure=self._secure)
        return response


def _template(name: str) -> Any:
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_text(name))


def _text(name: str) -> str:
    return (_FILES / name).read_text("utf-8")


def _static(name: str, kind: str) -> Any:
    text = _text(name)

    async def send(request: Request) -> Response:
        return Response(text, headers=_HEADERS, media_type=kind)

    return send
