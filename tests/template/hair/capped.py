"""The mean head photographed from the front under a cap of hair that is known exactly."""

import cv2
import numpy as np

from spinmeround import mesh_raster
from spinmeround.geometry import framed
from spinmeround.orbits import orbit_cameras
from spinmeround.template.fit.fitter import FittedHead, FittedPhoto
from spinmeround.template.fit.photo_lookup import gather_evidence
from spinmeround.template.hair import volume
from spinmeround.template.hair.curl import shown_curl
from spinmeround.template.hair.photo_projection import ProjectedPhoto
from spinmeround.template.hair.texture import paint_hair
from spinmeround.template.strands.direction_field import photographed_orientations, surface_directions
from spinmeround.types import Portrait

SIZE = 384
SKIN_RGB, HAIR_RGB = np.array([0.8, 0.6, 0.5]), np.array([0.3, 0.2, 0.1])
CAMERA = framed(orbit_cameras([0.0], [0.0], size_px=SIZE), 0.55, size_px=SIZE)


def front_of(model):
    """What the camera sees of the bare mean head."""
    return mesh_raster.rasterize(model.dense(model.mean), model.dense_faces, CAMERA, 0)


def portrait_of(rgb, alpha, hair):
    """A portrait whose colours, alpha and hair are given, without clothes and headwear."""
    rgb, alpha = np.asarray(rgb, np.float32), np.asarray(alpha, np.float32)
    return Portrait(
        rgb=rgb,
        alpha=alpha,
        hair=np.asarray(hair, np.float32),
        clothes=np.zeros_like(alpha),
        headwear=np.zeros_like(alpha),
        foreground=rgb,
        observed=np.ones(alpha.shape, bool),
        landmarks_px=np.zeros((478, 2), np.float32),
        blendshapes=np.zeros(52, np.float32),
        head_pose_deg=np.zeros(3, np.float32),
        crop_from_source=np.eye(3, dtype=np.float32),
    )


def photo_evidence(model, buffer, hair, *, tilt=0.0):
    """The mean head photographed from the front under a hair mask, strands painted ``tilt`` off the vertical."""
    head = buffer.face >= 0
    alpha = (head | hair).astype(np.float32)
    column, row = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    waves = 0.1 * np.sin((column * np.cos(tilt) + row * np.sin(tilt)) * 1.3)[..., None]
    rgb = np.where(hair[..., None], HAIR_RGB + waves, np.where(head[..., None], SKIN_RGB, 1.0)).astype(np.float32)
    portrait = portrait_of(rgb, alpha, hair)
    photo = FittedPhoto(CAMERA, np.zeros(52), np.zeros_like(model.mean), 0.0, 0.0, 1.0)
    head = FittedHead(model, np.zeros(len(model.shape_names)), np.zeros_like(model.mean), model.mean, (photo,))
    return gather_evidence(model, head, [portrait])


def cap(model, buffer, thickness_px):
    """A hair mask: the seen scalp, and a band of known width around it that ends at the ears."""
    scalp = mesh_raster.interpolate(model.masks["scalp"][:, None], model.dense_faces, buffer)[..., 0] > 0.5
    grown = cv2.dilate(
        scalp.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thickness_px + 1,) * 2)
    )
    return scalp | ((grown > 0) & (buffer.face < 0))


def surface_of(model, evidence):
    coverage = volume.hair_coverage(model, evidence)
    thickness = volume.hair_thickness(model, coverage, evidence)
    neutral = volume.flatten_covered_ears(model, model.dense(model.mean), coverage)
    return coverage, volume.hair_surface(model, neutral, coverage, thickness, evidence)


def painted(surface, evidence, *, seed):
    """The texture of a surface of hair."""
    return measured_and_painted(surface, evidence, seed=seed)[2]


def measured_and_painted(surface, evidence, *, seed):
    """Directions, curl and texture of a surface of hair."""
    photos = [ProjectedPhoto.of(photo, surface) for photo in evidence]
    orientations = photographed_orientations(evidence)
    directions = surface_directions(surface, evidence, photos, orientations)
    curl = shown_curl(evidence, orientations)
    texture = paint_hair(surface, directions, curl, evidence, photos, length=0.2, rng=np.random.default_rng(seed))
    return directions, curl, texture


def sampled(texture, points):
    """Colour and relief of a map of hair at points near its surface."""
    values = texture._look_up(np.dstack([texture.albedo, texture.relief]), points)
    return values[:, :3], values[:, 3]
