"""What the server says: the JSON of its answers, which is also what ``head.json`` holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

HeadState = Literal["queued", "running", "done", "failed", "cancelled"]
FileKind = Literal["splats", "mesh", "avatar", "hair", "picture", "report"]
ID_EXAMPLE = "0f1e2d3c4b5a6978"


class Fault(BaseModel):
    """What went wrong."""

    kind: str = Field(description="One word for programs.", examples=["InputError"])
    message: str = Field(description="One sentence to show.", examples=["photo_0.jpg: no face found"])


class Refusal(BaseModel):
    """The body of every answer that is an error."""

    error: Fault


class Stage(BaseModel):
    """One stage of a run."""

    stage: str = Field(examples=["head"])
    title: str = Field(description="What it is called while it runs.", examples=["fitting the head"])
    state: Literal["waiting", "running", "done"]
    seconds: float | None = Field(default=None, description="What it took, once it is done.", examples=[6.2])


class Verdict(BaseModel):
    """What to think of a head."""

    verdict: Literal["good", "fair", "poor"]
    sentence: str = Field(examples=["fair: the photo is blurred"])
    reasons: list[str] = Field(description="At most two, the worst first.")
    figures: dict[str, float | None] = Field(description="In [0, 1], 1 is good; null where nothing is known.")


class HeadFile(BaseModel):
    """One file of a head."""

    name: str = Field(examples=["head.glb"])
    suffix: str = Field(examples=["glb"])
    kind: FileKind
    bytes: int
    media_type: str = Field(examples=["model/gltf-binary"])


class PhotoCamera(BaseModel):
    """The pinhole camera of the first photo: OpenCV's axes; the world of the files, in metres."""

    width_px: int
    height_px: int
    intrinsics_px: list[list[float]] = Field(description="3 x 3.")
    camera_from_world: list[list[float]] = Field(description="4 x 4.")


class Head(BaseModel):
    """One head: what was asked for, how far it is, and what there is of it."""

    id: str = Field(pattern="^[0-9a-f]{16}$", examples=[ID_EXAMPLE])
    name: str = Field(examples=["Ada"])
    state: HeadState
    place_in_queue: int | None = Field(default=None, description="1 is next; null if it does not wait.")
    created: str = Field(description="ISO 8601, UTC.", examples=["2026-01-02T03:04:05.678+00:00"])
    started: str | None = None
    ended: str | None = None
    options: dict[str, Any] = Field(description="See /api/options.")
    photos: list[str] = Field(examples=[["photo_0.jpg"]])
    stages: list[Stage] = []
    fraction: float = Field(default=0.0, description="How much is done, in [0, 1]; a guess.")
    seconds_left: float | None = Field(default=None, description="A guess.")
    error: Fault | None = Field(default=None, description="Of the head, or of the last file made on request.")
    quality: Verdict | None = None
    files: list[HeadFile] = []
    making: list[str] = Field(default=[], description="Files that are being made on request.")
    photo_camera: PhotoCamera | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in ("done", "failed", "cancelled") and not self.making


class Heads(BaseModel):
    """All heads, newest first."""

    heads: list[Head]


class Wanted(BaseModel, extra="forbid"):
    """One more file of a finished head."""

    name: str = Field(max_length=64, description="head.SUFFIX or hair.SUFFIX.", examples=["head.spz"])


class Face(BaseModel):
    """One face of a photo."""

    face: int = Field(description="What the option face counts: 1 is the largest.", examples=[1])
    box_px: list[float] = Field(description="Left, top, width and height in the upright photo.")


class Faces(BaseModel):
    """The faces of a photo, largest first."""

    width: int = Field(description="Of the upright photo, pixels.")
    height: int
    faces: list[Face]


class Expressions(BaseModel):
    """The expression of the largest face of one frame."""

    face: bool = Field(description="Whether there is one.")
    expressions: dict[str, float] = Field(description="In [0, 1], by ARKit's 52 names; empty without a face.")
    head_rotation_deg: list[float] = Field(description="Pitch, yaw and roll; empty without a face.")


class ServerLimits(BaseModel):
    """What the server refuses."""

    upload_bytes: int
    photos: int
    pixels: int
    queue: int


class WrittenFormat(BaseModel):
    """A format that heads can be had in."""

    suffix: str = Field(examples=["glb"])
    kind: FileKind


class ServerInfo(BaseModel):
    """What the server is and can."""

    name: str = Field(examples=["spinmeround"])
    version: str
    limits: ServerLimits
    expressions: list[str] = Field(description="ARKit's 52 names.")
    presets: dict[str, dict[str, float]] = Field(description="VRM's presets as weights of ARKit's names.")
    formats: list[WrittenFormat]
