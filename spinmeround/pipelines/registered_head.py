"""An animatable head from any surface and its views: the template registered to it and textured from the views."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32

from spinmeround.types import Avatar, AvatarPart, Mesh, Progress, Views, no_progress

if TYPE_CHECKING:
    from spinmeround.template.registration.fitter import RegisteredHead

log = logging.getLogger(__name__)

_MAX_LEFTOVER_FRACTION = 0.4
"""Largest part of the triangles for all that the template cannot express, hair and clothes."""


@dataclass(frozen=True)
class RegisteredHeadOnSurface:
    """The template on a surface, with the views that texture it.

    Attributes:
        surface: world frame.
        views: pictures of the surface.
        face_view_count: in how many of them, or of a clay rendering of the surface, the face was found.
    """

    registered: RegisteredHead
    surface: Mesh
    views: Views
    face_view_count: int

    @property
    def report(self) -> dict[str, Any]:
        """How well the template lies on the surface."""
        return {"face_found_in_views": self.face_view_count} | self.registered.report

    def avatar(
        self,
        *,
        lod: Literal[0, 1, 2],
        texture_px: int,
        normal_map: bool = False,
        delight: float = 0.7,
        hair: Literal["cards", "shell"] = "cards",
    ) -> Avatar:
        """Return the head with bones and morph targets, neutral at rest, upright and looking ahead.

        Args:
            hair: of no account here: the surface has no strands.
        """
        from spinmeround.recon.texture.atlas import Atlas
        from spinmeround.recon.texture.bake import bake_onto_atlas
        from spinmeround.template.avatar.build import AvatarDetail, build_avatar
        from spinmeround.template.registration.leftover_parts import ear_coverage, hair_and_clothes, merge_meshes
        from spinmeround.template.registration.texture import complete_texture, split_views

        head = self.registered
        model = head.model
        mesh = Mesh(head.world_from_head(model.dense(head.posed)), model.dense_faces)
        layout = Atlas(model.uv.astype(float), model.uv_faces)
        leftovers = hair_and_clothes(head, self.surface)
        # Visibility is tested against the template and its leftovers: on the surface every bump would hide skin.
        occluders = merge_meshes([mesh, *leftovers.values()])
        skin_views, inner_views = split_views(head, self.views)
        skin, inner = (
            bake_onto_atlas(views, occluders, mesh, layout, size_px=texture_px) for views in (skin_views, inner_views)
        )
        return build_avatar(
            model,
            head.neutral,
            ear_coverage(head, self.surface),
            complete_texture(head, skin, inner, delight=delight),
            (),
            AvatarDetail(lod, texture_px, normal_map, hair),
            extra_parts=self._leftover_parts(leftovers, occluders, lod, texture_px // 2, normal_map),
            fine_normals=self._fine_normals(mesh, texture_px) if normal_map else None,
        )

    def _fine_normals(self, posed: Mesh, texture_px: int) -> Float32[np.ndarray, "t t 3"] | None:
        """Return the surface's normals in the template's tangent space; None if it does not lie on the surface."""
        if not self.registered.report["surface_believed"]:
            log.info("the surface lies off the face: the normal map holds the head model's form")
            return None
        from spinmeround.recon.texture.normal_map import with_normal_map
        from spinmeround.template.registration.leftover_parts import MAX_SKIN_DISTANCE
        from spinmeround.template.registration.target import without_boundary
        from spinmeround.template.registration.texture import outer_skin_normal_map
        from spinmeround.types import TexturedMesh

        model = self.registered.model
        blank = np.zeros((texture_px, texture_px, 3), np.float32)
        dense = TexturedMesh(posed.vertices, posed.faces, model.uv.astype(float), model.uv_faces, blank)
        reach = MAX_SKIN_DISTANCE * self.registered.world_from_head.scale
        normal_map = with_normal_map(dense, without_boundary(self.surface), reach=reach).normal_map
        assert normal_map is not None
        return outer_skin_normal_map(self.registered, normal_map)

    def _leftover_parts(
        self,
        leftovers: Mapping[str, Mesh],
        occluders: Mesh,
        lod: Literal[0, 1, 2],
        texture_px: int,
        normal_map: bool,
    ) -> tuple[AvatarPart, ...]:
        """Return hair and clothes as the surface has them, in the frame of the upright head."""
        from spinmeround.recon.texture.atlas import simplify, unwrap
        from spinmeround.recon.texture.bake import bake_onto_atlas
        from spinmeround.recon.texture.normal_map import with_normal_map
        from spinmeround.template.avatar.build import MAX_FACES, rigid_part
        from spinmeround.template.avatar.skeleton import HEAD, NECK
        from spinmeround.types import TexturedMesh

        head_from_world = self.registered.world_from_head.inverse()
        total = sum(len(mesh.faces) for mesh in leftovers.values())
        parts = []
        for name, fine in leftovers.items():
            max_faces = int(_MAX_LEFTOVER_FRACTION * MAX_FACES[lod] * len(fine.faces) / total)
            coarse = simplify(fine, max_faces)
            if not len(coarse.faces):
                continue
            atlas = unwrap(coarse, texture_px)
            albedo, _ = bake_onto_atlas(self.views, occluders, coarse, atlas, size_px=texture_px)
            mesh = TexturedMesh(coarse.vertices, coarse.faces, atlas.uv, atlas.uv_faces, albedo)
            mesh = with_normal_map(mesh, fine) if normal_map else mesh
            mesh = replace(mesh, vertices=head_from_world(mesh.vertices))
            parts.append(rigid_part(name, mesh, HEAD if name == "hair" else NECK))
        return tuple(parts)


def head_on_surface(views: Views, surface: Mesh, progress: Progress | None = None) -> RegisteredHeadOnSurface | None:
    """Register the template to a surface.

    Args:
        views: pictures of the surface, from the cameras it was fitted with.

    Returns:
        None if no face is found in its pictures, or if the surface does not have the form of a face.

    Raises:
        WeightsError: the files that find a face are absent and cannot be fetched.
    """
    from spinmeround.template.model.head_model import load_head_model
    from spinmeround.template.registration.fitter import register_template
    from spinmeround.template.registration.landmarks import find_surface_landmarks

    landmarks = find_surface_landmarks(views, surface)
    if landmarks is None:
        return None
    registered = register_template(load_head_model(), surface, landmarks, progress=progress or no_progress)
    if not registered.is_face:
        return None
    return RegisteredHeadOnSurface(registered, surface, replace(views, names=()), landmarks.view_count)
