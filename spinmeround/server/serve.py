"""Run the server: a socket, a limit on how long a request may take to be made, and the address for people."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import webbrowser
from collections.abc import Callable
from urllib.parse import quote

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from spinmeround.errors import OutputError
from spinmeround.server.app import create_app
from spinmeround.server.settings import ServerSettings

_BACKLOG = 1024


def serve(settings: ServerSettings, *, ready: Callable[[str], None]) -> None:
    """Serve until a signal ends it.

    Args:
        ready: called with the address to open, once it answers.

    Raises:
        OutputError: the address is taken or not this machine's, or the folder cannot be used.
    """
    with _listen(settings) as listening:
        app = create_app(settings)
        tempfile.tempdir = str(settings.folder)  # uploads are as large as the disk of the heads, not as memory
        config = uvicorn.Config(
            app,
            http=_protocol(settings.limits.header_s),
            ws="none",
            log_config=None,
            log_level="error",  # what clients send wrongly is answered, and fills no terminal
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.limits.connections,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config, lambda: ready(address(settings, listening.getsockname()[1])))
        asyncio.run(server.serve(sockets=[listening]))


def address(settings: ServerSettings, port: int) -> str:
    """Return the address to open in a browser, with the token if there is one."""
    host = settings.host
    if host in ("0.0.0.0", "::"):  # everywhere
        host = socket.gethostname()
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}/" + (f"?token={quote(settings.token)}" if settings.token else "")


def open_in_browser(url: str) -> None:
    """Open an address in the user's browser; without one nothing happens."""
    webbrowser.open(url)


def _listen(settings: ServerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OutputError(
            f"cannot listen on {settings.host} port {settings.port}: {(error.strerror or str(error)).lower()}; "
            "name another port, 0 for any that is free"
        ) from error


class _Server(uvicorn.Server):
    """A server that says when it answers."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._say_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._say_started()


def _protocol(header_s: float) -> type[H11Protocol]:
    """Return HTTP/1.1 that waits so long for the header of a request, and then closes the connection."""

    class TimedProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            super().connection_made(transport)  # pyright: ignore[reportArgumentType]
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
            super().connection_lost(exc)

        def _watch(self) -> None:
            is_waiting = self.conn.their_state is h11.IDLE
            if is_waiting and self._deadline is None:
                self._deadline = self.loop.call_later(header_s, self.transport.abort)
            elif not is_waiting and self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return TimedProtocol
