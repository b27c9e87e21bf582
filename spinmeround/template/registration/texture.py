"""The texture of a registered head: skin, eyes and teeth from views of it, and what no view shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32

from spinmeround.geometry import camera_centres, project, vertex_normals
from spinmeround.orbits import RADIUS
from spinmeround.template.model.head_model import PARTS, landmark_points
from spinmeround.template.registration.fitter import RegisteredHead
from spinmeround.template.registration.model_fit import Regions
from spinmeround.template.registration.target import MIN_NORMAL_COSINE
from spinmeround.template.texture.bake import SkinTexture, shared_atlas
from spinmeround.template.texture.eyes import complete_eyes
from spinmeround.template.texture.fill import Layer
from spinmeround.template.texture.lids import lid_trust, repaint_lids
from spinmeround.template.texture.lighting import fit_light
from spinmeround.template.texture.lips import complete_lips
from spinmeround.template.texture.mouth import complete_mouth
from spinmeround.template.texture.projection import face_openings
from spinmeround.template.texture.skin_tone import SkinPlaces, usual_skin
from spinmeround.types import Views

_FRONT = np.array([0.0, 0.0, RADIUS])
"""About where the views that show the lids are taken from, in the frame of the upright head."""
_SKIN = PARTS.index("skin")
_FADE_COSINE = 0.2
"""Cosines above the least one over which normals of another sheet fade in: skin tilted by 45 degrees has weight 1."""


def split_views(head: RegisteredHead, views: Views) -> tuple[Views, Views]:
    """Return the views weighted for skin, and weighted for eyes and mouth.

    Of eyes and mouth only the most frontal view is used: two views hardly ever agree on where an iris is.
    """
    height, width = views.alpha.shape[1:]
    landmarks = head.world_from_head(landmark_points(head.model, head.posed, range(478)))
    ahead = head.world_from_head.rotation @ np.array([0.0, 0.0, 1.0])
    toward = camera_centres(views.cameras) - landmarks.mean(0)
    frontal = (toward @ ahead) / np.linalg.norm(toward, axis=1)
    skin, inner = views.weight.copy(), np.zeros_like(views.weight)
    for index in np.flatnonzero(frontal > 0):
        camera = views.cameras
        pixels = project(landmarks, camera.camera_from_world[index], camera.intrinsics_px[index])[:, :2]
        openings = face_openings(pixels, height, width)
        skin[index] *= 1 - np.maximum(openings.inside, openings.open_mouth)
        if index == frontal.argmax():
            inner[index] = views.weight[index] * openings.inside
    return replace(views, weight=skin), replace(views, weight=inner)


def complete_texture(
    head: RegisteredHead,
    skin: tuple[Float[np.ndarray, "t t 3"], Float[np.ndarray, "t t"]],
    inner: tuple[Float[np.ndarray, "t t 3"], Float[np.ndarray, "t t"]],
    *,
    delight: float,
) -> SkinTexture:
    """Even out the lighting of the skin, and paint what no view shows of lids, lips, eyes and mouth.

    Args:
        skin: colours and the weight with which they were seen, from the first of ``split_views``; colours are complete.
        inner: the same from the second; colours are invalid where the weight is 0.
        delight: fraction of the light that is taken out, in [0, 1].
    """
    model = head.model
    atlas = shared_atlas(len(skin[0]))
    posed = model.dense(head.posed)
    on_skin = atlas.part == _SKIN
    bare = atlas.spread(np.asarray(1 - np.maximum(model.masks["scalp"], model.masks["lips"]), np.float64)[:, None])
    seen = np.where(on_skin, skin[1] * bare[..., 0], 0).astype(np.float32)
    colours, weight_sum = atlas.gather(skin[0], seen, len(posed))
    sure = SkinPlaces.on(model).sure
    normals = vertex_normals(posed, model.dense_faces)
    light = fit_light(colours, normals, weight_sum, sure=sure, skin_rgb=usual_skin(colours, weight_sum, sure))
    shading = light.shading(normals)
    relit = skin[0] / np.maximum(atlas.spread(shading**delight), 1e-3)
    shown = Layer(relit.astype(np.float32), skin[1].astype(np.float32))
    relit = complete_lips(model, atlas, shown, head.posed, head.neutral)
    relit = repaint_lids(model, atlas, relit, lid_trust(model, posed, model.dense(head.neutral), _FRONT))
    layer = Layer(inner[0].astype(np.float32), np.where(on_skin, 0, inner[1]).astype(np.float32))
    eyes, mouth = complete_eyes(model, atlas, layer), complete_mouth(model, atlas, layer)
    albedo = np.where(on_skin[..., None], relit, eyes.rgb + mouth.rgb)
    observed: Float32[np.ndarray, "t t"] = np.where(on_skin, skin[1], eyes.weight + mouth.weight).astype(np.float32)
    inside = atlas.part >= 0
    return SkinTexture(atlas.padded(np.clip(albedo, 0, 1), inside), np.where(inside, observed, 0).astype(np.float32))


def outer_skin_normal_map(head: RegisteredHead, normal_map: Float[np.ndarray, "t t 3"]) -> Float32[np.ndarray, "t t 3"]:
    """Return a normal map of the dense head where it shows the outer skin, flat elsewhere.

    It is flat in sockets, nostrils and mouth and on eyes. Normals that are tilted too much are those of another sheet
    of the surface, such as its end below the neck.
    """
    outside = shared_atlas(len(normal_map)).spread(Regions.of(head.model).outer_skin.astype(np.float64))[..., None]
    weight = outside * np.clip((normal_map[..., 2:] - MIN_NORMAL_COSINE) / _FADE_COSINE, 0, 1)
    blended = weight * normal_map + (1 - weight) * np.array([0, 0, 1], np.float32)
    return (blended / np.linalg.norm(blended, axis=2, keepdims=True)).astype(np.float32)
