"""Reading and writing files: the only place where colour, frames and activations are converted.

Importing this package loads nothing heavy; the module of each function is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinmeround.io.atomic import atomic_file as atomic_file
    from spinmeround.io.atomic import atomic_folder as atomic_folder
    from spinmeround.io.atomic import check_file as check_file
    from spinmeround.io.avatar_files import read_avatar as read_avatar
    from spinmeround.io.avatar_files import write_avatar as write_avatar
    from spinmeround.io.formats import AvatarExporter as AvatarExporter
    from spinmeround.io.formats import Exporter as Exporter
    from spinmeround.io.formats import Format as Format
    from spinmeround.io.formats import files_written as files_written
    from spinmeround.io.formats import output_kinds as output_kinds
    from spinmeround.io.formats import register_format as register_format
    from spinmeround.io.hair_files import read_hair as read_hair
    from spinmeround.io.hair_files import write_hair as write_hair
    from spinmeround.io.mesh_files import metres_per_unit as metres_per_unit
    from spinmeround.io.mesh_files import read_mesh as read_mesh
    from spinmeround.io.mesh_files import write_mesh as write_mesh
    from spinmeround.io.splat_files import read_splats as read_splats
    from spinmeround.io.splat_files import write_splats as write_splats
    from spinmeround.io.views.colmap_write import check_colmap_folder as check_colmap_folder
    from spinmeround.io.views.colmap_write import write_colmap as write_colmap
    from spinmeround.io.views.read import read_view_cameras as read_view_cameras
    from spinmeround.io.views.read import read_views as read_views
    from spinmeround.io.views.transforms_write import check_views_folder as check_views_folder
    from spinmeround.io.views.transforms_write import write_views as write_views

_MODULES = {
    "atomic": ("atomic_file", "atomic_folder", "check_file"),
    "views.colmap_write": ("check_colmap_folder", "write_colmap"),
    "avatar_files": ("read_avatar", "write_avatar"),
    "formats": ("AvatarExporter", "Exporter", "Format", "files_written", "output_kinds", "register_format"),
    "hair_files": ("read_hair", "write_hair"),
    "mesh_files": ("metres_per_unit", "read_mesh", "write_mesh"),
    "splat_files": ("read_splats", "write_splats"),
    "views.transforms_write": ("check_views_folder", "write_views"),
    "views.read": ("read_view_cameras", "read_views"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AvatarExporter",
    "Exporter",
    "Format",
    "atomic_file",
    "atomic_folder",
    "check_colmap_folder",
    "check_file",
    "check_views_folder",
    "files_written",
    "metres_per_unit",
    "output_kinds",
    "read_avatar",
    "read_hair",
    "read_mesh",
    "read_splats",
    "read_view_cameras",
    "read_views",
    "register_format",
    "write_avatar",
    "write_colmap",
    "write_hair",
    "write_mesh",
    "write_splats",
    "write_views",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
