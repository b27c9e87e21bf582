"""The HTTP API: heads, their files and events, and what photos and frames show."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from fastapi import Path as InPath
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import ValidationError
from sse_starlette import EventSourceResponse, ServerSentEvent

from spinmeround.io.recordings.expressions import ARKIT_NAMES, EXPRESSIONS
from spinmeround.server.events import Listener
from spinmeround.server.jobs import Jobs, now
from spinmeround.server.options import HeadOptions, file_name, written_kinds
from spinmeround.server.photos.checks import kind_of_photo
from spinmeround.server.photos.uploads import Uploads, copy
from spinmeround.server.readings import Readings
from spinmeround.server.refusals import RefusedError, not_found
from spinmeround.server.schemas import (
    ID_EXAMPLE,
    Expressions,
    Faces,
    Head,
    Heads,
    Refusal,
    ServerInfo,
    ServerLimits,
    Wanted,
    WrittenFormat,
)
from spinmeround.server.settings import ServerSettings
from spinmeround.server.store import FILES, PHOTOS, HeadStore

_LONGEST_NAME = 80
_OPTIONS_EXAMPLE = '{"quality": "draft", "formats": ["ply", "glb"]}'


class Parts:
    """What the routes work with; one for each running server.

    Attributes:
        info, options: JSON of answers that are always the same.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.store = HeadStore(settings.folder)
        self.jobs = Jobs(self.store, settings)
        self.readings = Readings(settings)
        self.uploads = Uploads(self.readings, settings.limits)
        self.info = _info(settings).model_dump_json()
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **HeadOptions.model_json_schema()}
        self.options = json.dumps(schema)


def _info(settings: ServerSettings) -> ServerInfo:
    limits = settings.limits
    return ServerInfo(
        name="spinmeround",
        version=metadata.version("spinmeround"),
        limits=ServerLimits(
            upload_bytes=limits.upload_bytes, photos=limits.photos, pixels=limits.pixels, queue=limits.queue
        ),
        expressions=list(ARKIT_NAMES),
        presets=EXPRESSIONS,
        formats=[WrittenFormat(suffix=suffix, kind=kind) for suffix, kind in written_kinds().items()],
    )


def _parts(request: Request) -> Parts:
    return request.app.state.parts


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Refusal} for status in (403, 422, *statuses)}


WithParts = Annotated[Parts, Depends(_parts)]
HeadId = Annotated[str, InPath(description="Of a head.", examples=[ID_EXAMPLE])]
router = APIRouter(prefix="/api")


@router.get("/server", response_model=ServerInfo, responses=_refusals(), summary="What the server is and can")
async def server(parts: WithParts) -> Response:
    """Tell the version, the limits, the names of expressions, and the formats."""
    return Response(parts.info, media_type="application/json")


@router.get("/options", response_model=dict[str, Any], responses=_refusals(), summary="What may be asked of a head")
async def options(parts: WithParts) -> Response:
    """Return the JSON schema of a head's options, with titles, descriptions and defaults."""
    return Response(parts.options, media_type="application/json")


@router.post(
    "/heads",
    status_code=202,
    response_model=Head,
    responses=_refusals(400, 408, 413, 415, 429),
    summary="Make a head",
)
async def make_head(
    parts: WithParts,
    photos: Annotated[
        list[UploadFile], File(min_length=1, description="One photo of a person, or several of the same one.")
    ],
    options: Annotated[str, Form(description="JSON, see /api/options.", examples=[_OPTIONS_EXAMPLE])] = "{}",
    name: Annotated[str, Form(description="What to call the head.", examples=["Ada"])] = "",
) -> Response:
    """Take photos and queue a head. It is described as it stands now; listen to its events for the rest."""
    asked = _read_options(options)
    parts.jobs.check_queue()
    with parts.store.incoming() as folder:
        (folder / PHOTOS).mkdir()
        names = await parts.uploads.store(photos, folder / PHOTOS)
        head = Head(
            id=secrets.token_hex(8),
            name=_printable(name) or _printable(Path(photos[0].filename or "").stem) or "Head",
            state="queued",
            created=now(),
            options=asked.model_dump(),
            photos=names,
        )
        await parts.jobs.add(head, folder)
    return _head(parts, head, status=202, headers={"Location": f"/api/heads/{head.id}"})


@router.get("/heads", response_model=Heads, responses=_refusals(), summary="All heads, newest first")
async def list_heads(parts: WithParts) -> Response:
    """Describe all heads."""
    return Response(parts.jobs.all_json(), media_type="application/json")


@router.get("/heads/{head_id}", response_model=Head, responses=_refusals(404), summary="One head")
async def get_head(parts: WithParts, head_id: HeadId) -> Response:
    """Describe one head."""
    return _head(parts, parts.jobs.head(head_id))


@router.delete(
    "/heads/{head_id}",
    status_code=204,
    response_class=Response,
    responses=_refusals(404),
    summary="Delete a head",
)
async def delete_head(parts: WithParts, head_id: HeadId) -> Response:
    """Stop the work on a head, and remove its photos, its files and all else of it."""
    await parts.jobs.remove(head_id)
    return Response(status_code=204)


@router.get(
    "/heads/{head_id}/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **_refusals(404)},
    summary="What happens to a head",
)
async def head_events(parts: WithParts, head_id: HeadId) -> EventSourceResponse:
    """Send the head on every change as an event ``head``, until nothing more happens to it by itself."""
    return EventSourceResponse(_told(parts.jobs, parts.jobs.listen(parts.jobs.head(head_id)), until_settled=True))


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **_refusals()},
    summary="What happens to all heads",
)
async def events(parts: WithParts) -> EventSourceResponse:
    """Send every head once, and on every change, as an event ``head``; ``deleted`` has the id of one that is gone."""
    return EventSourceResponse(_told(parts.jobs, parts.jobs.listen(), until_settled=False))


async def _told(jobs: Jobs, listener: Listener, *, until_settled: bool) -> AsyncIterator[ServerSentEvent]:
    try:
        async for told in listener.listen():
            yield ServerSentEvent(told.data, event=told.kind)
            if until_settled and told.is_last:
                return
    finally:
        jobs.events.remove(listener)


@router.get(
    "/heads/{head_id}/files/{name}",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}}, **_refusals(404)},
    summary="A file of a head",
)
async def get_file(
    parts: WithParts,
    head_id: HeadId,
    name: Annotated[str, InPath(description="One of the head's files.", examples=["head.glb"])],
    download: Annotated[bool, Query(description="Have the browser save it.")] = False,
) -> FileResponse:
    """Send a file; parts of it can be asked for."""
    head = parts.jobs.head(head_id)
    listed = next((file for file in head.files if file.name == name), None)
    path = None if listed is None else parts.store.file(head, FILES, listed.name)
    if listed is None or path is None:
        raise not_found("such file")
    saved_as = f"{head.name} {name}" if download else None
    return FileResponse(path, media_type=listed.media_type, filename=saved_as)


@router.post(
    "/heads/{head_id}/files",
    status_code=202,
    response_model=Head,
    responses=_refusals(400, 404, 409, 413, 429),
    summary="Make one more file of a head",
)
async def make_file(parts: WithParts, head_id: HeadId, wanted: Wanted) -> Response:
    """Queue one more file of a finished head; one that is there already is not made again."""
    head = parts.jobs.head(head_id)
    known = [file_name(suffix) for suffix in written_kinds()]
    if wanted.name not in known:
        raise RefusedError(422, "OutputError", f"no such file can be made; known are {', '.join(known)}")
    if head.state != "done":
        raise RefusedError(409, "NotDone", f"the head is {head.state}; more files are made of one that is done")
    if wanted.name not in (*head.making, *(file.name for file in head.files)):
        await parts.jobs.make_file(head, wanted.name)
    return _head(parts, head, status=202)


@router.get(
    "/heads/{head_id}/photos/{index}",
    response_class=FileResponse,
    responses={200: {"content": {"image/jpeg": {}}}, **_refusals(404, 429)},
    summary="A photo of a head",
)
async def get_photo(
    parts: WithParts, head_id: HeadId, index: Annotated[int, InPath(description="From 0.", examples=[0])]
) -> FileResponse:
    """Send a photo upright, as JPEG, of at most 2048 pixels a side and without metadata."""
    head = parts.jobs.head(head_id)
    photo = parts.store.file(head, PHOTOS, head.photos[index]) if 0 <= index < len(head.photos) else None
    if photo is None:
        raise not_found("such photo")
    shown = f"shown_{index}.jpg"
    if parts.store.file(head, PHOTOS, shown) is None:
        await parts.readings.show(photo, photo.with_name(shown))
    return FileResponse(photo.with_name(shown), media_type="image/jpeg")


@router.post(
    "/faces", response_model=Faces, responses=_refusals(400, 408, 413, 415, 429), summary="The faces of a photo"
)
async def find_faces(
    parts: WithParts, photo: Annotated[UploadFile, File(description="A photo; nothing of it is kept.")]
) -> Response:
    """Find the faces of a photo, largest first: what the option ``face`` counts."""
    kind_of_photo(photo.file, called="the photo")
    with TemporaryDirectory(dir=parts.store.folder, prefix=".incoming-") as folder:
        copy(photo.file, path := Path(folder) / "photo")
        return JSONResponse(await parts.readings.faces(path))


@router.post(
    "/expressions",
    response_model=Expressions,
    responses=_refusals(408, 413, 415, 429),
    summary="The expression of a face",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/jpeg", "image/png")
            },
        }
    },
)
async def read_expressions(parts: WithParts, request: Request) -> Response:
    """Read ARKit's expressions and the head's rotation off one frame of a camera; nothing of it is kept."""
    frame = await request.body()
    if not frame.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        raise RefusedError(415, "NoPhoto", "the frame is no JPEG or PNG")
    return JSONResponse(await parts.readings.expressions(frame))


def _read_options(text: str) -> HeadOptions:
    """Read a head's options.

    Raises:
        RefusedError: they are none.
    """
    try:
        return HeadOptions.model_validate(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise RefusedError(422, "InputError", f"options: {_first_fault(error)}") from None


def _first_fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else first["msg"]
    return "expected JSON"


def _head(parts: Parts, head: Head, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(parts.jobs.latest(head).data, status, headers, media_type="application/json")


def _printable(text: str) -> str:
    """Return a name for people: one line of bounded length."""
    return "".join(each for each in text if each.isprintable()).strip()[:_LONGEST_NAME].strip()
