"""What every request must pass before anything else sees it, and the headers of every answer.

Pages of other sites, and names that lead here by a trick of DNS, get nothing; bodies have a size and come in time.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import socket
import time
from contextlib import nullcontext, suppress
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spinmeround.server.refusals import RefusedError, not_found
from spinmeround.server.settings import Limits, ServerSettings, is_loopback

COOKIE = "spinmeround_token"
SMALL_BODY_BYTES = 64 * 2**10
"""The most that is taken where no photo is expected."""
_LINGER_S, _LINGER_BYTES = 1.0, 64 * 2**20
"""So long and so much is read of a body that was refused."""
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{1,5}))?")
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self' blob: data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """ASGI middleware in front of the whole application."""

    def __init__(self, app: ASGIApp, *, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings
        self._own_names = _own_names(settings.host)
        self._uploads = asyncio.Semaphore(settings.limits.uploads_at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        send = _with_headers(send)
        try:
            self._check_source(scope, headers)
            if self._settings.token is not None:
                if await self._welcomed(scope, send):
                    return
                self._check_token(headers)
            body = Body(receive, most_bytes=self._most_bytes(scope), limits=self._settings.limits)
            body.check_announced(headers)
        except RefusedError as refused:
            await _refuse(refused, send, receive)
            return
        async with self._uploads if body.most_bytes > SMALL_BODY_BYTES else nullcontext():
            await self._pass_on(scope, body, send)

    async def _pass_on(self, scope: Scope, body: Body, send: Send) -> None:
        """Run the application; a body that turns out too large or too slow is the answer, whatever it says."""

        async def send_unless_refused(message: Message) -> None:
            if body.refused is None:
                await send(message)

        try:
            await self._app(scope, body.receive, send_unless_refused)
        except Exception:
            if body.refused is None:
                raise
        if body.refused is not None:
            await _refuse(body.refused, send, body.receive_more)

    def _check_source(self, scope: Scope, headers: Headers) -> None:
        """Check that a request is meant for this server, and comes from its own page or from no page at all.

        Raises:
            RefusedError: it is not.
        """
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None or not self._is_own(match[1].strip("[]").lower()):
            raise RefusedError(403, "ForeignHost", "this server is not known by that name; use the address it printed")
        own = hosts[0].lower()
        if any(origin.lower() not in (f"http://{own}", f"https://{own}") for origin in origins):
            raise RefusedError(403, "ForeignOrigin", "pages of other sites get nothing here")
        follows_link = scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not follows_link:
            raise RefusedError(403, "ForeignOrigin", "pages of other sites get nothing here")
        if "\0" in scope["path"]:
            raise not_found("such page")

    def _is_own(self, name: str) -> bool:
        if name in self._own_names:
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        # An address is no name that DNS could make lead here.
        return address.is_loopback or not is_loopback(self._settings.host)

    async def _welcomed(self, scope: Scope, send: Send) -> bool:
        """Answer the link with the token that the server printed: a cookie, and the page without the token."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if scope["path"] != "/" or not given:
            return False
        if not self._is_token(given[0]):
            raise _no_token()
        cookie = f"{COOKIE}={self._settings.token}; Path=/; HttpOnly; SameSite=Lax"
        await send(
            {
                "type": "http.response.start",
                "status": 303,
                "headers": [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")],
            }
        )
        await send({"type": "http.response.body", "body": b""})
        return True

    def _check_token(self, headers: Headers) -> None:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(bearer.strip()):
            return
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        if cookie is None or not self._is_token(cookie.value):
            raise _no_token()

    def _is_token(self, given: str) -> bool:
        assert self._settings.token is not None
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._settings.token.encode())

    def _most_bytes(self, scope: Scope) -> int:
        limits = self._settings.limits
        by_path = {
            "/api/heads": limits.upload_bytes,
            "/api/faces": limits.upload_bytes,
            "/api/expressions": limits.frame_bytes,
        }
        return by_path.get(scope["path"], SMALL_BODY_BYTES) if scope["method"] == "POST" else SMALL_BODY_BYTES


class Body:
    """The body of one request, counted and timed as it comes.

    Attributes:
        refused: why no more of it is read, if so.
    """

    def __init__(self, receive: Receive, *, most_bytes: int, limits: Limits) -> None:
        self.refused: RefusedError | None = None
        self.most_bytes = most_bytes
        self._receive, self._limits = receive, limits
        self._bytes, self._whole = 0, False
        self._began: float | None = None

    def check_announced(self, headers: Headers) -> None:
        """Check the length that the client states.

        Raises:
            RefusedError: it is too much.
        """
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self.most_bytes:
            raise self._too_large()

    async def receive(self) -> Message:
        """Return the next part; once it is refused, the client is as good as gone."""
        if self._whole:
            return await self._receive()
        if self._began is None:  # the request may have waited for others before it
            self._began = time.monotonic()
        if self.refused is None:
            try:
                async with asyncio.timeout(self._limits.silence_s):
                    message = await self._receive()
            except TimeoutError:
                self.refused = self._too_slow()
            else:
                self._count(message)
                if self.refused is None:
                    return message
        return {"type": "http.disconnect"}

    async def receive_more(self) -> Message:
        """Return what comes after a refusal, which nobody reads."""
        return await self._receive()

    def _count(self, message: Message) -> None:
        self._bytes += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._bytes > self.most_bytes:
            self.refused = self._too_large()
        elif not self._whole:
            seconds = time.monotonic() - (self._began or time.monotonic())
            if seconds > self._limits.silence_s + self._bytes / self._limits.bytes_per_s:
                self.refused = self._too_slow()

    def _too_large(self) -> RefusedError:
        return RefusedError(413, "TooLarge", f"more than {self.most_bytes / 1e6:.3g} MB are not taken at once")

    def _too_slow(self) -> RefusedError:
        return RefusedError(408, "TooSlow", "the upload came too slowly; try again")


def _own_names(host: str) -> set[str]:
    names = {"localhost"}
    if not is_loopback(host):
        own = socket.gethostname().lower()
        names |= {host.lower(), own, f"{own}.local", socket.getfqdn().lower()}
    return names


def _no_token() -> RefusedError:
    return RefusedError(403, "NoToken", "open the address with the token that the server printed")


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(each for each in _HEADERS if each[0] not in given)]
        await send(message)

    return send_with_headers


async def _refuse(refused: RefusedError, send: Send, receive: Receive) -> None:
    """Answer and close; read on for a moment, for a client that is still sending would else miss the answer."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(refused.body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": refused.body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            left = _LINGER_BYTES
            while left > 0 and (message := await receive()).get("more_body", False):
                left -= len(message["body"])
    await send({"type": "http.response.body", "body": b""})
