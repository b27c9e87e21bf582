"""Surfaces of the synthetic people's pictures: head, bust, headwear, light, and what is behind them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from hair_scenery import cloth, draw_colour
from hair_strands import BodyDistance, unit
from hair_styles import Style
from hair_wear import Shell
from jaxtyping import Float
from scipy.ndimage import map_coordinates
from synthetic_paint import EYEBALLS, SHIRT, Canvas, Paint, albedo_of, noise
from synthetic_photo import Subject

from spinmeround.geometry import look_at, project, vertex_normals
from spinmeround.mesh_raster import interpolate, rasterize
from spinmeround.numerics import smooth_ramp
from spinmeround.types import Cameras

SIZE_PX = 400
_FRAME_MM = 520.0
"""What the picture shows at the head's distance."""


@dataclass(frozen=True)
class Light:
    """Lamps by direction and colour, and the light of the sky; linear."""

    directions: Float[np.ndarray, "l 3"]
    colours: Float[np.ndarray, "l 3"]
    sky: Float[np.ndarray, "3"]


@dataclass
class Scene:
    """A picture in the making: linear colours, hair, and depth of what is solid."""

    cameras: Cameras
    linear: Float[np.ndarray, "s s 3"]
    hair: Float[np.ndarray, "s s"]
    depth: Float[np.ndarray, "s s"]

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Return x px, y px and depth of points."""
        return project(points, self.cameras.camera_from_world[0], self.cameras.intrinsics_px[0])


def empty_scene(rng: np.random.Generator) -> Scene:
    """Return a scene without a person, and with a camera such as portraits are taken with."""
    yaw = np.radians(np.clip(rng.normal(0, 14), -38, 38))
    pitch, roll = np.radians(np.clip(rng.normal(0, 7, 2), -18, 18))
    distance_mm = rng.uniform(650, 2200)
    target = np.array([0.0, -22.0, -70.0]) + rng.uniform(-22, 22, 3)
    eye = target + distance_mm * np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    focal = SIZE_PX * distance_mm / (_FRAME_MM * rng.uniform(0.8, 1.3))
    intrinsics = np.array([[[focal, 0, SIZE_PX / 2], [0, focal, SIZE_PX / 2], [0, 0, 1]]])
    cameras = Cameras((turn @ look_at(eye, target))[None], intrinsics, SIZE_PX, SIZE_PX)
    shape = (SIZE_PX, SIZE_PX)
    return Scene(cameras, np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32), np.full(shape, np.inf))


def draw_light(rng: np.random.Generator) -> Light:
    """Draw soft, side, hard or back light: a key lamp, a weaker one, and the sky."""
    key = np.radians(rng.uniform(-85, 85))
    others = [np.radians(rng.uniform(-170, 170)) for _ in range(2)]
    heights = np.radians([rng.uniform(0, 60), rng.uniform(-10, 50), rng.uniform(-10, 50)])
    directions = [
        [np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)] for a, e in zip([key, *others], heights, strict=True)
    ]
    strength = np.array([rng.uniform(0.3, 1.9), rng.uniform(0, 0.5), rng.uniform(0, 0.9) * (rng.random() < 0.4)])
    colours = strength[:, None] * np.exp(rng.normal(0, 0.12, (3, 3)))
    return Light(np.array(directions), colours, rng.uniform(0.15, 0.8) * np.exp(rng.normal(0, 0.08, 3)))


def _surface_light(
    normal: Float[np.ndarray, "n 3"], open_sky: Float[np.ndarray, "n 1"], light: Light
) -> Float[np.ndarray, "n 3"]:
    lit = light.sky * open_sky * (0.7 + 0.3 * normal[:, 1:2])
    for direction, colour in zip(light.directions, light.colours, strict=True):
        lit = lit + colour * np.clip((normal @ direction + 0.12) / 1.12, 0, None)[:, None] * (0.3 + 0.7 * open_sky)
    return lit


def draw_subject(
    scene: Scene,
    subject: Subject,
    normals: Float[np.ndarray, "v 3"],
    look: tuple[Canvas, Paint, Style],
    light: Light,
    body: BodyDistance,
    rng: np.random.Generator,
) -> None:
    """Draw head and bust."""
    canvas, paint, style = look
    open_sky = np.clip(0.25 + body.distance(subject.vertices + 28 * normals) / 36, 0.15, 1)
    buffer = rasterize(subject.vertices, subject.faces, scene.cameras, 0)
    hit = buffer.face >= 0
    attributes = np.concatenate([normals, open_sky[:, None], subject.place, subject.vertices], axis=1)
    values = interpolate(attributes, subject.faces, buffer)[hit].astype(np.float64)
    normal, sky, place, where = np.split(values, [3, 4, 7], axis=1)
    normal, face = unit(normal), buffer.face[hit]
    kind, on_head = subject.kind[face], face < len(subject.uv_faces)
    corners = subject.uv[subject.uv_faces[np.where(on_head, face, 0)]]
    u, v = (corners * buffer.barycentric[hit][..., None]).sum(1).T
    mask = canvas.lips_mask
    lips = map_coordinates(mask, [(1 - v) * len(mask) - 0.5, u * mask.shape[1] - 0.5], order=1) * on_head
    grows = style.hairy(place, paint.seed) * on_head
    albedo, _ = albedo_of(canvas, place, kind, lips, paint, hair=grows * style.cover)
    albedo = _with_clothes(albedo, kind, where, rng)
    lit = _surface_light(normal, sky, light)
    gloss = np.where(np.isin(kind, EYEBALLS), 0.6, 0.05 * rng.random())[:, None]
    to_eye = -scene.cameras.camera_from_world[0, 2, :3]
    for direction, colour in zip(light.directions, light.colours, strict=True):
        halfway = unit(direction + to_eye)
        lit_gloss = gloss * np.clip(normal @ halfway, 0, 1)[:, None] ** 18 * (normal @ direction > 0)[:, None]
        albedo = albedo + lit_gloss * colour / np.maximum(lit, 0.1)
    scene.linear[hit] = albedo * lit
    scene.depth[hit] = buffer.depth[hit]
    # Scalp under strands, or cropped hair: from half covered on it looks like hair.
    scene.hair[hit] = grows * smooth_ramp(np.full(len(grows), style.cover), 0.15, 0.5)


def _with_clothes(
    albedo: Float[np.ndarray, "n 3"], kind: np.ndarray, where: Float[np.ndarray, "n 3"], rng: np.random.Generator
) -> Float[np.ndarray, "n 3"]:
    """Dress the bust: any collar from bare shoulders to a rolled one, any cloth."""
    collars = [rng.uniform(-260, -200), rng.uniform(-200, -165), rng.uniform(-165, -125)]
    collar = rng.choice(collars, p=[0.2, 0.55, 0.25])
    front, middle = np.maximum(where[:, 2] + 80, 0) / 80, np.clip(60 - np.abs(where[:, 0]), 0, 60)
    opening = rng.choice([0.0, rng.uniform(0.3, 1.5)]) * front * middle
    dressed_there = (kind == SHIRT) & (where[:, 1] < collar - opening + 0.12 * where[:, 2])
    colours = np.stack([draw_colour(rng), draw_colour(rng)])
    kind_of_cloth = str(rng.choice(["plain", "stripes", "checks", "print", "wool"], p=[0.4, 0.15, 0.1, 0.15, 0.2]))
    seed = int(rng.integers(1 << 30))
    rough = noise(where / rng.uniform(4, 25), seed=seed, octaves=4)
    fabric = cloth(where, colours, kind_of_cloth, rng.uniform(8, 45), rough)
    fabric *= np.exp(0.25 * noise(where / [30, 90, 30], seed=seed + 1, octaves=3))[:, None]  # folds
    return np.where(dressed_there[:, None], fabric, albedo)


def draw_shell(scene: Scene, shell: Shell, light: Light) -> None:
    """Draw headwear; no hair shows through it."""
    buffer = rasterize(shell.vertices, shell.faces, scene.cameras, 0)
    hit = (buffer.face >= 0) & (buffer.depth < scene.depth)
    attributes = np.concatenate([vertex_normals(shell.vertices, shell.faces), shell.vertices], axis=1)
    values = interpolate(attributes, shell.faces, buffer)[hit].astype(np.float64)
    normal, where = unit(values[:, :3]), values[:, 3:]
    toward = -scene.cameras.camera_from_world[0, 2, :3]
    normal = np.where((normal @ toward < 0)[:, None], -normal, normal)
    rough = noise(where / shell.grain_mm, seed=shell.seed, octaves=4)
    albedo = cloth(where, shell.colours, shell.cloth, shell.scale_mm, rough)
    scene.linear[hit] = albedo * _surface_light(normal, np.full((len(normal), 1), 0.85), light)
    scene.depth[hit] = buffer.depth[hit]
    scene.hair[hit] = 0


def put_behind(
    scene: Scene,
    backdrop: Float[np.ndarray, "s s 3"],
    hair_mask: Float[np.ndarray, "s s"],
    light: Light,
    rng: np.random.Generator,
) -> None:
    """Put the backdrop behind the person, with their shadow on it if a wall is near."""
    solid = np.isfinite(scene.depth)
    person = np.maximum(solid, hair_mask).astype(np.float32)
    if rng.random() < 0.45:
        shift = -rng.uniform(10, 70) * light.directions[0][:2] * [1, -1]
        moved = cv2.warpAffine(person, np.float64([[1, 0, shift[0]], [0, 1, shift[1]]]), person.shape[::-1])
        shadow = cv2.GaussianBlur(moved, (0, 0), rng.uniform(1.5, 14))
        backdrop = backdrop * (1 - rng.uniform(0.3, 0.92) * shadow)[..., None]
    soft = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), 0.6)[..., None]
    filled = np.where(solid[..., None], scene.linear, cv2.blur(scene.linear, (3, 3)) * 2)
    scene.linear[:] = np.where(soft > 0.5, filled, backdrop) * soft + backdrop * (1 - soft)
