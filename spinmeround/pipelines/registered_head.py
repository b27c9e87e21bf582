"""A head that moves, from any surface and its views: the template registered to it, painted from the views."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32

from spinmeround.types import Avatar, AvatarPart, Mesh, Progress, Views

if TYPE_CHECKING:
    from spinmeround.template.registration.fitter import RegisteredHead

log = logging.getLogger(__name__)

_MOST_SHARE = 0.4
"""Of the triangles, for all that the template cannot express."""


@dataclass(frozen=True)
class SurfaceHead:
    """The template on a surface.

    Attributes:
        views: what sees the surface.
        pictures: in how many of them, or of the bare surface, the face was found.
    """

    registered: RegisteredHead
    surface: Mesh
    views: Views
    pictures: int

    @property
    def report(self) -> dict[str, Any]:
        """How well the template lies on the surface."""
        return {"face_found_in_views": self.pictures} | self.registered.report

    def avatar(self, *, lod: Literal[0, 1, 2], texture_px: int, normal_map: bool = False) -> Avatar:
        """The head with bones and morph targets, neutral at rest, upright and looking ahead."""
        from spinmeround.recon.texture.atlas import Atlas
        from spinmeround.recon.texture.bake import bake_onto_atlas
        from spinmeround.template.avatar.build import build_avatar
        from spinmeround.template.registration.leftover_parts import ears_under, joined, left_over
        from spinmeround.template.registration.texture import finish_texture, split_views

        head = self.registered
        model = head.model
        mesh = Mesh(head.world_from_head(model.dense(head.posed)), model.dense_faces)
        layout = Atlas(model.uv.astype(float), model.uv_faces)
        pieces = left_over(head, self.surface)
        # What hides what is asked of the template and its parts: on the surface itself every bump would hide skin.
        whole = joined([mesh, *pieces.values()])
        painted = [
            bake_onto_atlas(views, whole, mesh, layout, size_px=texture_px) for views in split_views(head, self.views)
        ]
        skin = finish_texture(head, painted[0], painted[1])
        more = self._more(pieces, whole, lod, texture_px // 2, normal_map)
        relief = self._relief(mesh, texture_px) if normal_map else None
        covered = ears_under(head, self.surface)
        return build_avatar(
            model,
            head.neutral,
            covered,
            skin,
            None,
            lod=lod,
            texture_px=texture_px,
            more=more,
            normal_map=normal_map,
            relief=relief,
        )

    def _relief(self, posed: Mesh, texture_px: int) -> Float32[np.ndarray, "t t 3"] | None:
        """The surface's normals in the tangent space of the template; none where it does not lie on the surface."""
        if not self.registered.report["surface_believed"]:
            log.info("the surface lies off the face: the normal map holds the head model's form")
            return None
        from spinmeround.recon.texture.normal_map import with_normal_map
        from spinmeround.template.registration.leftover_parts import OFF
        from spinmeround.template.registration.target import without_ends
        from spinmeround.template.registration.texture import skin_relief
        from spinmeround.types import TexturedMesh

        model = self.registered.model
        blank = np.zeros((texture_px, texture_px, 3), np.float32)
        dense = TexturedMesh(posed.vertices, posed.faces, model.uv.astype(float), model.uv_faces, blank)
        normal_map = with_normal_map(dense, without_ends(self.surface), reach=OFF).normal_map
        assert normal_map is not None
        return skin_relief(self.registered, normal_map)

    def _more(
        self, pieces: Mapping[str, Mesh], whole: Mesh, lod: Literal[0, 1, 2], texture_px: int, normal_map: bool
    ) -> tuple[AvatarPart, ...]:
        """Hair and clothes as the surface has them, in the frame of the upright head."""
        from spinmeround.recon.texture.atlas import simplify, unwrap
        from spinmeround.recon.texture.bake import bake_onto_atlas
        from spinmeround.recon.texture.normal_map import with_normal_map
        from spinmeround.template.avatar.build import FACES, carried_part
        from spinmeround.template.avatar.skeleton import HEAD, NECK
        from spinmeround.types import TexturedMesh

        head_from_world = self.registered.world_from_head.inverse()
        total = sum(len(piece.faces) for piece in pieces.values())
        parts = []
        for name, piece in pieces.items():
            most = int(_MOST_SHARE * FACES[lod] * len(piece.faces) / total)
            small = simplify(piece, most)
            if not len(small.faces):
                continue
            atlas = unwrap(small, texture_px)
            albedo, _ = bake_onto_atlas(self.views, whole, small, atlas, size_px=texture_px)
            mesh = TexturedMesh(small.vertices, small.faces, atlas.uv, atlas.uv_faces, albedo)
            mesh = with_normal_map(mesh, piece) if normal_map else mesh
            mesh = replace(mesh, vertices=head_from_world(mesh.vertices))
            parts.append(carried_part(name, mesh, HEAD if name == "hair" else NECK))
        return tuple(parts)


def head_on_surface(views: Views, surface: Mesh, progress: Progress | None = None) -> SurfaceHead | None:
    """Registers the template to a surface; none if no face is found in its pictures or its form is not that of one.

    Args:
        views: pictures of the surface, from the cameras it was fitted with.

    Raises:
        WeightsError: the files that find a face are absent and cannot be fetched.
    """
    from spinmeround.template.model.head_model import load_head_model
    from spinmeround.template.registration.fitter import register_template
    from spinmeround.template.registration.landmarks import find_marks

    marks = find_marks(views, surface)
    if marks is None:
        return None
    registered = register_template(load_head_model(), surface, marks, progress=progress)
    if not registered.is_face:
        return None
    return SurfaceHead(registered, surface, replace(views, names=()), marks.pictures)
