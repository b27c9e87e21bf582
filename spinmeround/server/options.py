"""What may be asked of a head: the words of ``spmr-recon``'s flags, checked, and turned into settings of a run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, StrictInt, field_validator

from spinmeround.io.formats import Kind, formats, output_kinds, suffixes

if TYPE_CHECKING:
    from spinmeround.pipelines.outputs import OutputOptions
    from spinmeround.pipelines.settings import RunSettings

_MEDIA_TYPES = {
    "glb": "model/gltf-binary",
    "vrm": "model/gltf-binary",
    "usdz": "model/vnd.usdz+zip",
    "usdc": "application/octet-stream",
    "usda": "text/plain; charset=utf-8",
    "obj": "model/obj",
    "mtl": "model/mtl",
    "stl": "model/stl",
    "3mf": "model/3mf",
    "png": "image/png",
    "jpg": "image/jpeg",
    "json": "application/json",
}
PREVIEW, REPORT = "preview.png", "report.json"


class HeadOptions(BaseModel, extra="forbid", title="Options of a head"):
    """What may be asked of a head; the names are those of the command's flags."""

    quality: Literal["draft", "standard", "high"] = Field(
        "standard",
        title="Quality",
        description="Draft takes a quarter of a minute, standard half a minute, high some minutes.",
    )
    seed: Annotated[StrictInt, Field(ge=0, lt=10**15)] = Field(
        0, title="Seed", description="The same photo and seed give the same bytes."
    )
    face: Annotated[StrictInt, Field(ge=1, le=1000)] | None = Field(
        None, title="Face", description="Which face to take, 1 for the largest; by default the largest."
    )
    neutral: StrictBool = Field(
        False, title="Neutral", description="Splats and plain meshes show the face at rest, not the photo's expression."
    )
    glasses: Literal["keep", "remove"] = Field(
        "keep", title="Glasses", description="Keep glasses, painted on the face, or fill in skin for their frame."
    )
    splats: Annotated[StrictInt, Field(ge=100, le=2_000_000)] | None = Field(
        None, title="Splats", description="At most so many; by default as many as the quality has."
    )
    height_m: Annotated[float, Field(ge=1e-3, le=1e3, allow_inf_nan=False)] | None = Field(
        None, title="Height", description="Height of the head in metres; by default 0.23."
    )
    ply: Literal["splats", "mesh"] = Field("splats", title="PLY", description="What a .ply holds.")
    no_rig: StrictBool = Field(False, title="No rig", description="The .glb is a plain mesh that does not move.")
    lod: Literal[0, 1, 2] = Field(
        0, title="Level of detail", description="Avatars of about 30,000, 12,000 or 4,000 triangles."
    )
    texture_size: Literal[256, 512, 1024, 2048] = Field(
        2048, title="Texture", description="Side of an avatar's skin texture in pixels."
    )
    delight: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        0.7, title="Delight", description="Fraction of the photo's light that is taken out of an avatar's skin."
    )
    avatar_hair: Literal["cards", "shell"] = Field(
        "cards", title="Avatar's hair", description="Strips with opacity, or a closed surface for printing."
    )
    normal_map: StrictBool = Field(
        False, title="Normal map", description="Meshes shade like the fine surface they were made from."
    )
    formats: Annotated[list[str], Field(min_length=1, max_length=16)] = Field(
        ["ply", "glb"],
        title="Formats",
        description="Files to make, by their suffixes.",
        json_schema_extra=lambda schema: schema.update(items={"type": "string", "enum": [*written_suffixes()]}),
    )

    @field_validator("formats")
    @classmethod
    def _known(cls, given: list[str]) -> list[str]:
        known = written_suffixes()
        for suffix in given:
            if suffix not in known:
                raise ValueError(f"expected some of {', '.join(known)}, got {suffix[:20]!r}")
        if sum(is_hair(f".{suffix}") for suffix in set(given)) > 1:
            raise ValueError("hair can be had in one format at a time")
        return list(dict.fromkeys(given))

    def run_settings(self) -> RunSettings:
        """Return what ``reconstruct`` takes; imports what is heavy."""
        from spinmeround.pipelines.settings import AvatarOptions, MeshOptions, PhotoOptions, RunSettings

        return RunSettings(
            quality=self.quality,
            seed=self.seed,
            splats=self.splats,
            height_m=self.height_m,
            photo=PhotoOptions(face=self.face, neutral=self.neutral, glasses=self.glasses),
            mesh=MeshOptions(normal_map=self.normal_map),
            avatar=AvatarOptions(
                rig=not self.no_rig,
                lod=self.lod,
                texture_px=self.texture_size,
                delight=self.delight,
                hair=self.avatar_hair,
            ),
        )

    def outputs(self, folder: Path, names: list[str], *, preview: bool) -> tuple[list[Path], OutputOptions]:
        """Return the files to write in a folder, and what is written beside them."""
        from spinmeround.pipelines.outputs import OutputOptions

        hair = next((folder / name for name in names if is_hair(Path(name).suffix)), None)
        out = [folder / name for name in names if not is_hair(Path(name).suffix)]
        return out, OutputOptions(ply=self.ply, hair=hair, preview=folder / PREVIEW if preview else None)

    def names(self) -> list[str]:
        """Return the names of the files asked for."""
        return [file_name(suffix) for suffix in self.formats]


def is_hair(suffix: str) -> bool:
    """Whether a suffix, with its dot, is one of strands of hair."""
    return suffix in suffixes("hair")


def file_name(suffix: str) -> str:
    """Return the name of the file of a suffix without its dot."""
    return f"hair.{suffix}" if is_hair(f".{suffix}") else f"head.{suffix}"


def written_kinds() -> dict[str, Kind]:
    """Return what can be written here: the kind of each suffix, without its dot; an avatar where that is possible."""
    kinds: dict[str, Kind] = {}
    for each in formats():
        suffix = each.suffix.removeprefix(".")
        if each.writer is not None and all(find_spec(package) for package in each.requires):
            kinds[suffix] = "avatar" if each.holds == "avatar" else kinds.get(suffix, each.holds)
    return kinds


def written_suffixes() -> list[str]:
    """Return the suffixes that can be written here, without their dots."""
    return list(written_kinds())


def kind_of(name: str, options: HeadOptions, report: dict[str, Any]) -> str:
    """Return what a file of a head holds.

    Args:
        report: of the run that made it.
    """
    suffix = Path(name).suffix
    if name == REPORT:
        return "report"
    if suffix in (".png", ".jpg"):
        return "picture"
    if suffix == ".mtl":
        return "mesh"
    if is_hair(suffix):
        return "hair"
    is_avatar = suffix in suffixes("avatar") and report.get("avatar", {}).get("made", False)
    return "avatar" if is_avatar else output_kinds(name, ply=options.ply)[0]


def media_type(name: str) -> str:
    """Return the media type of a file, by its suffix."""
    return _MEDIA_TYPES.get(Path(name).suffix.removeprefix("."), "application/octet-stream")
