"""What the panel sets: photos and options, kept in the scene; how far the work is, kept while Blender runs."""
# SPDX-License-Identifier: GPL-3.0-or-later

from pathlib import Path
from typing import Any

import bpy

from ..scene.placing import Wishes
from ..services.making import Order

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif")


class SPMR_Photo(bpy.types.PropertyGroup):
    """A photo."""

    path: bpy.props.StringProperty(name="Photo", subtype="FILE_PATH")


class SPMR_Settings(bpy.types.PropertyGroup):
    """Photos of one person, and what to make of them."""

    photos: bpy.props.CollectionProperty(type=SPMR_Photo)
    active_photo: bpy.props.IntProperty()
    quality: bpy.props.EnumProperty(
        name="Quality",
        items=(
            ("draft", "Draft", "A quarter of a minute; half the texture"),
            ("standard", "Standard", "About half a minute"),
            ("high", "High", "Some minutes"),
        ),
        default="standard",
    )
    lod: bpy.props.EnumProperty(
        name="Triangles",
        items=(
            ("0", "30,000", "For close-ups"),
            ("1", "12,000", "For games"),
            ("2", "4,000", "For crowds; hair is a closed surface"),
        ),
    )
    texture_size: bpy.props.EnumProperty(
        name="Texture",
        description="Side of the skin's texture, pixels",
        items=tuple((size, size, f"{size} by {size} pixels") for size in ("256", "512", "1024", "2048")),
        default="2048",
    )
    hair: bpy.props.EnumProperty(
        name="Hair",
        items=(
            ("cards", "Cards", "Strips with strands painted on them, for games and EEVEE"),
            ("strands", "Strands", "Hair curves that can be combed, for Cycles; cards come along, hidden, for export"),
            ("shell", "Shell", "One closed surface, for printing and sculpting"),
        ),
    )
    blended: bpy.props.BoolProperty(
        name="Blend Cards",
        description="EEVEE blends cards rather than dithers them: no noise, but cards may show in the wrong order",
    )
    normal_map: bpy.props.BoolProperty(
        name="Normal Map", description="Shade fewer triangles like the finest surface there is"
    )
    glasses: bpy.props.EnumProperty(
        name="Glasses",
        items=(
            ("keep", "Keep", "Painted on the face"),
            ("remove", "Remove", "Skin fills in for their frame"),
        ),
    )
    delight: bpy.props.FloatProperty(
        name="Remove Light",
        description="Fraction of the photo's light that is taken out of the skin: 0 keeps the photo's look, 1 leaves "
        "only the scene's light",
        default=0.7,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    height_m: bpy.props.FloatProperty(
        name="Height",
        description="Of all of the head, with neck and hair; 0 for the usual size, 0.23 m from chin to crown",
        default=0.0,
        min=0.0,
        soft_max=1.0,
        max=100.0,
        subtype="DISTANCE",
        unit="LENGTH",
    )
    face: bpy.props.IntProperty(
        name="Face", description="Which face of the photo, by size: 1 is the largest", default=1, min=1, max=1000
    )
    seed: bpy.props.IntProperty(name="Seed", description="Same photo, same seed, same head", default=0, min=0)
    expression: bpy.props.BoolProperty(
        name="Photo's Expression",
        description="Shape keys start with the expression of the photo, rather than at rest",
        default=True,
    )
    reference: bpy.props.BoolProperty(
        name="Photo as Reference",
        description="Add the photo's camera, with the photo over what it sees",
        default=True,
    )

    def order(self, photos: list[Path], name: str) -> Order:
        """Return what to ask of the server."""
        return Order(tuple(photos), name, self._options(), strands=self.hair == "strands")

    def wishes(self) -> Wishes:
        """Return how the head is placed."""
        return Wishes(wears_expression=self.expression, reference=self.reference, blended=self.blended)

    def _options(self) -> dict[str, Any]:
        return {
            "quality": self.quality,
            "lod": int(self.lod),
            "texture_size": int(self.texture_size),
            "avatar_hair": "shell" if self.hair == "shell" else "cards",
            "normal_map": self.normal_map,
            "glasses": self.glasses,
            # Blender keeps 32 bits of a number; the server is told what the field shows.
            "delight": round(self.delight, 4),
            "height_m": round(self.height_m, 6) or None,
            "face": self.face,
            "seed": self.seed,
        }

    def recall(self, options: dict[str, Any], *, strands: bool) -> None:
        """Show the options that a head was made with."""
        for name in ("quality", "normal_map", "glasses", "delight", "face", "seed"):
            setattr(self, name, options[name])
        self.height_m = options["height_m"] or 0.0
        self.lod, self.texture_size = str(options["lod"]), str(options["texture_size"])
        self.hair = "strands" if strands else options["avatar_hair"]


class SPMR_State(bpy.types.PropertyGroup):
    """How far the work is; in no file."""

    running: bpy.props.BoolProperty()
    title: bpy.props.StringProperty()
    fraction: bpy.props.FloatProperty()
    error: bpy.props.StringProperty()


CLASSES = (SPMR_Photo, SPMR_Settings, SPMR_State)


def attach() -> None:
    """Give scenes their settings, and the window manager the state."""
    bpy.types.Scene.spinmeround = bpy.props.PointerProperty(type=SPMR_Settings)
    bpy.types.WindowManager.spinmeround = bpy.props.PointerProperty(type=SPMR_State)


def detach() -> None:
    """Take them away again."""
    del bpy.types.Scene.spinmeround
    del bpy.types.WindowManager.spinmeround


def photos_in(folder: Path) -> list[Path]:
    """Return the photos of a folder, by name; hidden files are none."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def name_of(photo: Path) -> str:
    """Return the name of a head after its photo."""
    # Blender's names have at most 63 bytes, and parts add their own.
    return photo.stem[:30] or "Head"
