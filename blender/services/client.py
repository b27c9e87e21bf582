"""The HTTP client: photos up to spmr-app, the state of heads and their files down."""
# SPDX-License-Identifier: GPL-3.0-or-later

import http.client
import ipaddress
import json
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SECONDS_TO_ANSWER = 90.0
"""How long one answer may take; the server may decode a photo for a minute before it answers."""
_MOST_JSON_BYTES = 16 * 2**20
_MOST_FILE_BYTES = 2 * 2**30
_CHUNK_BYTES = 2**20


class ServerError(Exception):
    """What the server, or the way to it, refused: one sentence to show.

    Attributes:
        status: the HTTP status; 0 where there was no answer.
        unreachable: whether nothing answered at all.
    """

    def __init__(self, message: str, *, status: int = 0, unreachable: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.unreachable = unreachable


class Client:
    """Speaks to one server. Every method blocks until the answer is there, and raises ``ServerError``.

    Args:
        address: such as ``http://127.0.0.1:8765``.
        token: what a server asks for that is bound elsewhere than on this computer.
    """

    def __init__(self, address: str, token: str = "") -> None:
        self.address = checked_address(address)
        self._token = token
        # Neither a proxy nor another host that an answer names gets to see photos.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)

    def server(self) -> dict[str, Any]:
        """Return what the server says of itself.

        Raises:
            ServerError: nothing answers, or something else than spinmeround does.
        """
        found = self._json("GET", "/api/server")
        if found.get("name") != "spinmeround":
            raise ServerError(f"What answers at {self.address} is not spinmeround; check the address")
        return found

    def options(self) -> dict[str, Any]:
        """Return the options that the server knows: a JSON schema of each, by name."""
        return self._json("GET", "/api/options").get("properties", {})

    def make(self, photos: Sequence[Path], *, name: str, options: dict[str, Any]) -> dict[str, Any]:
        """Ask for a head of one person's photos; return it as it waits in the queue."""
        form = _Form()
        form.field("name", name)
        form.field("options", json.dumps(options))
        for photo in photos:
            form.file("photos", photo)
        return self._json("POST", "/api/heads", form.parts(), {"Content-Type": form.content_type})

    def head(self, head_id: str) -> dict[str, Any]:
        """Return a head as it is now."""
        return self._json("GET", f"/api/heads/{head_id}")

    def delete(self, head_id: str) -> None:
        """Stop what is made of a head, and remove it from the server."""
        with self._answer("DELETE", f"/api/heads/{head_id}"):
            pass

    def save_file(self, head_id: str, name: str, path: Path) -> None:
        """Save one of a head's files."""
        self._save(f"/api/heads/{head_id}/files/{urllib.parse.quote(name, safe='')}", path)

    def save_photo(self, head_id: str, index: int, path: Path) -> Path:
        """Save a photo as the head was fitted to it, upright; return its path, with the picture's own suffix."""
        route = f"/api/heads/{head_id}/photos/{index}"
        with self._answer("GET", route) as answer:
            saved = path.with_suffix(".png" if answer.headers.get_content_type() == "image/png" else ".jpg")
            _save_body(answer, saved)
        return saved

    def _save(self, route: str, path: Path) -> None:
        with self._answer("GET", route) as answer:
            _save_body(answer, path)

    def _json(
        self, method: str, route: str, body: list[bytes | Path] | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        with self._answer(method, route, body, headers) as answer:
            try:
                found = json.loads(answer.read(_MOST_JSON_BYTES))
            except (OSError, http.client.HTTPException) as error:
                raise ServerError(f"{self.address} stopped in its answer ({error})", unreachable=True) from None
            except ValueError:
                found = None
        if not isinstance(found, dict):
            raise ServerError(f"What answers at {self.address} is not spinmeround; check the address")
        return found

    def _answer(
        self, method: str, route: str, body: list[bytes | Path] | None = None, headers: dict[str, str] | None = None
    ) -> Any:
        request = urllib.request.Request(self.address + route, method=method, headers=headers or {})
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.data = _streamed(body)
            request.add_header("Content-Length", str(sum(_size(part) for part in body)))
        try:
            return self._opener.open(request, timeout=SECONDS_TO_ANSWER)
        except urllib.error.HTTPError as error:
            with error:
                raise ServerError(_refusal(error, self.address), status=error.code) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise ServerError(
                f"Nothing answers at {self.address} ({reason}); start spmr-app, or give its path in the preferences",
                unreachable=True,
            ) from None


def checked_address(address: str) -> str:
    """Return a server's address without a slash at its end.

    Raises:
        ServerError: it is none.
    """
    address = address.strip().rstrip("/")
    try:
        parts = urllib.parse.urlsplit(address)
        valid = parts.scheme in ("http", "https") and parts.hostname and not parts.path and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ServerError(
            f"The address must be like http://127.0.0.1:8765, got {address!r}; change it in the preferences"
        )
    return address


def is_on_this_computer(address: str) -> bool:
    """Check whether an address is a loopback one."""
    host = urllib.parse.urlsplit(checked_address(address)).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes an answer that points elsewhere for a refusal."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Form:
    """A multipart form, whose files are read when it is sent."""

    def __init__(self) -> None:
        self._boundary = secrets.token_hex(16)
        self._parts: list[bytes | Path] = []
        self.content_type = f"multipart/form-data; boundary={self._boundary}"

    def field(self, name: str, value: str) -> None:
        self._head(f'name="{name}"', "text/plain; charset=utf-8")
        self._parts += [value.encode(), b"\r\n"]

    def file(self, name: str, path: Path) -> None:
        """Add a file; of its name only the end is sent, as the server knows photos by their bytes."""
        self._head(f'name="{name}"; filename="photo{_ascii(path.suffix)}"', "application/octet-stream")
        self._parts += [path, b"\r\n"]

    def parts(self) -> list[bytes | Path]:
        return [*self._parts, f"--{self._boundary}--\r\n".encode()]

    def _head(self, disposition: str, content_type: str) -> None:
        lines = f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: {content_type}"
        self._parts.append(f"{lines}\r\n\r\n".encode())


def _ascii(suffix: str) -> str:
    return suffix if suffix[1:].isascii() and suffix[1:].isalnum() else ""


def _size(part: bytes | Path) -> int:
    if isinstance(part, bytes):
        return len(part)
    try:
        return part.stat().st_size
    except OSError as error:
        raise ServerError(f"The photo {part} cannot be read: {error.strerror}") from None


def _streamed(parts: list[bytes | Path]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
        else:
            with part.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk


def _save_body(answer: Any, path: Path) -> None:
    saved = 0
    try:
        with path.open("wb") as file:
            while chunk := answer.read(_CHUNK_BYTES):
                saved += len(chunk)
                if saved > _MOST_FILE_BYTES:
                    raise ServerError(f"{path.name} is larger than {_MOST_FILE_BYTES >> 30} GiB; it was not read")
                file.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise ServerError(f"{path.name} did not come in whole: {error}") from None


def _refusal(error: urllib.error.HTTPError, address: str) -> str:
    """Return the sentence of a refused request."""
    try:
        return str(json.loads(error.read(_MOST_JSON_BYTES))["error"]["message"])
    except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
        return f"{address} refused with status {error.code}; check that spmr-app answers there"
