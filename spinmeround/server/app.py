"""The whole application: the API, the page, and how errors are said."""

from __future__ import annotations

import errno
import logging
import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib import metadata
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from spinmeround.errors import ResourceError
from spinmeround.server.api import Parts, router
from spinmeround.server.guard import Guard
from spinmeround.server.refusals import RefusedError
from spinmeround.server.settings import ServerSettings

log = logging.getLogger(__name__)

_STATIC = Path(__file__).parent / "static"
_NO_PAGE = """<!doctype html><html lang="en"><title>spinmeround</title>
<h1>spinmeround</h1><p>The page was not built into this copy. The API is described in
<a href="/openapi.json">/openapi.json</a>.</p>
"""
for _suffix, _kind in ((".js", "text/javascript"), (".wasm", "application/wasm"), (".css", "text/css")):
    mimetypes.add_type(_kind, _suffix)  # a browser refuses others, and a system may say anything


def create_app(settings: ServerSettings) -> ASGIApp:
    """Return the application.

    Raises:
        OutputError: the folder of heads cannot be written, or another server uses it.
    """
    parts = Parts(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await parts.jobs.start()
        await parts.readings.start()
        try:
            yield
        finally:
            await parts.jobs.stop()
            await parts.readings.stop()
            parts.store.close()

    app = FastAPI(
        title="spinmeround",
        version=metadata.version("spinmeround"),
        description="Photos of a face to 3D heads, on this machine.",
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.parts = parts
    app.include_router(router)
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/", StaticFiles(directory=_STATIC, check_dir=False))
    _say_errors_as_json(app)
    return Guard(app, settings=settings)


async def _page() -> Response:
    page = _STATIC / "index.html"
    return FileResponse(page) if page.is_file() else HTMLResponse(_NO_PAGE)


def _say_errors_as_json(app: FastAPI) -> None:
    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> Response:
        return _answer(error)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        kind = HTTPStatus(error.status_code).phrase.replace(" ", "")
        return _answer(RefusedError(error.status_code, kind, str(error.detail)), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return _answer(RefusedError(422, "InputError", f"{where}: {first['msg']}" if where else first["msg"]))

    @app.exception_handler(ResourceError)
    async def full(_: Request, error: ResourceError) -> Response:
        return _answer(RefusedError(507, "ResourceError", str(error)))

    @app.exception_handler(OSError)
    async def system(_: Request, error: OSError) -> Response:
        if error.errno == errno.ENOSPC:
            return _answer(RefusedError(507, "ResourceError", "the disk is full; free some space and try again"))
        raise error

    @app.exception_handler(Exception)
    async def defect(_: Request, error: Exception) -> Response:
        return _answer(RefusedError(500, "Defect", "a defect of this program; its log says more"))


def _answer(error: RefusedError, headers: object = None) -> Response:
    return Response(error.body, error.status, headers, media_type="application/json")  # pyright: ignore[reportArgumentType]
