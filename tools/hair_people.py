"""Pictures of synthetic people with exact labels of their hair, to train the hair network on.

    PYTHONPATH=benchmarks python tools/hair_people.py OUT.png [--count 24] [--first 0]     a contact sheet of them

Heads, skin and cloth are surfaces; hair, beards and frames of glasses are strands drawn over them (``hair_strands``).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from hair_scene import SIZE_PX, Light, Scene, draw_light, draw_shell, draw_subject, empty_scene, put_behind
from hair_scenery import background, compressed, developed, draw_colour
from hair_strands import BodyDistance, Growth, Strands, draw_segments, grow, shaded, sorted_segments, unit
from hair_styles import Style, draw_style, growths_of, knot_strands
from hair_wear import Shell, draw_headwear, glasses_lines
from jaxtyping import Bool, Float
from pictures import write_rgb
from synthetic_paint import Canvas, draw_paint
from synthetic_people import head_maker
from synthetic_photo import Subject, dressed

from spinmeround.geometry import vertex_normals

_GUIDES = 900


@dataclass(frozen=True)
class LabelledPhoto:
    """A picture and where it shows hair of the head.

    Attributes:
        rgb: sRGB in [0, 1].
        hair: coverage by hair.
    """

    rgb: Float[np.ndarray, "s s 3"]
    hair: Float[np.ndarray, "s s"]


def draw_person(
    canvas: Canvas, phenotype: dict[str, float], vertices_mm: Float[np.ndarray, "v 3"], rng: np.random.Generator
) -> LabelledPhoto:
    """Draw a person of that shape, everything else at random, as a camera with a steady hand sees them."""
    style = draw_style(rng)
    paint = replace(draw_paint(phenotype, rng), hair_mm=0.0, hair=style.colour, seed=style.seed % (1 << 29))
    paint = replace(paint, skin=np.clip(paint.skin * np.exp(rng.normal(0, 0.25)), 0.01, 0.8))
    subject = dressed(canvas, vertices_mm, paint, splits=1, curved=True)
    normals = vertex_normals(subject.vertices, subject.faces)
    body = BodyDistance(subject.vertices, normals)
    wear = draw_headwear(body, rng)
    light, scene = draw_light(rng), empty_scene(rng)
    backdrop = background(SIZE_PX, rng)
    strands = _all_strands(subject, normals, style, wear, body, rng)
    draw_subject(scene, subject, normals, (canvas, paint, style), light, body, rng)
    if wear is not None:
        draw_shell(scene, wear, light)
    shade = _shadow_of(scene, strands, light)
    solid = np.isfinite(scene.depth)
    scene.linear *= (1 - 0.55 * rng.random() * shade * solid)[..., None]
    put_behind(scene, backdrop, _silhouette(scene, strands), light, rng)
    _draw_beard(scene, subject, normals, style, body, light, rng)
    if rng.random() < 0.25:
        _draw_glasses(scene, vertices_mm, canvas, rng)
    for group in strands:
        _draw_strands(scene, group, style, body, light, rng)
    return LabelledPhoto(compressed(developed(scene.linear, rng), rng), np.clip(scene.hair, 0, 1).astype(np.float32))


def _all_strands(
    subject: Subject,
    normals: Float[np.ndarray, "v 3"],
    style: Style,
    wear: Shell | None,
    body: BodyDistance,
    rng: np.random.Generator,
) -> list[Strands]:
    """Grow all groups of strands; headwear presses what it covers."""
    roots, root_normals, place = _scattered(
        subject, normals, lambda p: style.hairy(p, style.seed % (1 << 29)) > 0.5, _GUIDES, rng
    )
    result = [
        grow(roots[chosen], root_normals[chosen], growth, body, rng)
        for chosen, growth in (growths_of(style, place, rng) if len(roots) else [])
    ]
    if style.name == "tied":
        result.append(grow(*knot_strands(style, subject.vertices[:, 1].max(), rng), body, rng))
    if wear is not None:
        result = [_pressed(each, wear) for each in result]
    return result


def _pressed(strands: Strands, wear: Shell) -> Strands:
    """Pull the points of strands under headwear to the root, where it hides them."""
    covered = wear.covers(strands.points_mm.reshape(-1, 3)).reshape(strands.points_mm.shape[:2])
    points = strands.points_mm.copy()
    centre = np.array([0.0, 20.0, -80.0])
    points[covered] = centre + 0.75 * (points[covered] - centre)
    broken = covered.all(axis=1)
    return replace(strands, points_mm=points[~broken], depth=strands.depth[~broken], tone=strands.tone[~broken])


def _scattered(
    subject: Subject,
    normals: Float[np.ndarray, "v 3"],
    accept: Callable[[Float[np.ndarray, "n 3"]], Bool[np.ndarray, "n"]],
    count: int,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Scatter points evenly over the part of the head that is accepted by its place; points, normals and places."""
    faces = subject.faces[: len(subject.uv_faces)]
    faces = faces[subject.kind[: len(faces)] == 0]
    faces = faces[accept(subject.place[faces].mean(1))]
    if not len(faces):
        empty = np.zeros((0, 3))
        return empty, empty, empty
    corners = subject.vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = faces[rng.choice(len(faces), count, p=area / area.sum())]
    weights = rng.dirichlet([1, 1, 1], count)[..., None]
    points, out, place = ((values[chosen] * weights).sum(1) for values in (subject.vertices, normals, subject.place))
    return points, unit(out), place


def _shadow_of(scene: Scene, strands: list[Strands], light: Light) -> Float[np.ndarray, "s s"]:
    """Return the soft shadow that hair throws on skin and clothes under it."""
    mask = _silhouette(scene, strands)
    shift = -8 * light.directions[0][:2] * [1, -1]
    moved = cv2.warpAffine(mask, np.float64([[1, 0, shift[0]], [0, 1, shift[1]]]), mask.shape[::-1])
    return cv2.GaussianBlur(moved, (0, 0), 5)


def _silhouette(scene: Scene, strands: list[Strands]) -> Float[np.ndarray, "s s"]:
    mask = np.zeros(scene.depth.shape, np.uint8)
    for group in strands:
        pixels = scene.project(group.points_mm[::4].reshape(-1, 3))[:, :2].reshape(*group.points_mm[::4].shape[:2], 2)
        cv2.polylines(mask, list(np.round(pixels).astype(np.int32)), False, 1, 2)
    return mask.astype(np.float32)


def _draw_strands(
    scene: Scene,
    strands: Strands,
    style: Style,
    body: BodyDistance,
    light: Light,
    rng: np.random.Generator,
    *,
    label: float = 1.0,
) -> None:
    """Shade strands and draw them, the farthest first."""
    count, steps = strands.points_mm.shape[:2]
    if not count:
        return
    grey = rng.random(count) < style.greying
    colour = np.where(grey[:, None], 0.35, style.colour) * np.exp(rng.normal(0, 0.06, (count, 3)))
    lamps = (light.directions, light.colours)
    colours = shaded(strands, colour, body, lamps, light.sky, gloss=style.gloss)
    pixels = scene.project(strands.points_mm.reshape(-1, 3)).reshape(count, steps, 3)
    ends, colours, _ = sorted_segments(pixels, colours)
    coverage = np.full(len(ends), rng.uniform(0.45, 0.8))
    draw_segments(ends, colours, coverage, label, rng.uniform(0.9, 1.6), scene.depth, scene.linear, scene.hair)


def _draw_beard(
    scene: Scene,
    subject: Subject,
    normals: Float[np.ndarray, "v 3"],
    style: Style,
    body: BodyDistance,
    light: Light,
    rng: np.random.Generator,
) -> None:
    """Draw a beard, from stubble to long, on one person in three; it is not hair of the head."""
    if rng.random() > 0.35:
        return
    low, front = rng.uniform(-78, -48), rng.uniform(-75, -10)
    moustache = rng.random() < 0.8

    def grows(place: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        x, y, z = np.abs(place[:, 0]), place[:, 1], place[:, 2]
        jaw = (y < low + 0.45 * x * (x > 35)) & (z > front) & (y > -140) & ~((x < 24) & (y > -86) & (y < -58))
        sides = (x > 62) & (y < 5) & (z > -62) & (y > -110) & (front < -45)
        lip = (x < 30) & (y < -50) & (y > -62) & moustache
        return jaw | sides | lip

    roots, out, _ = _scattered(subject, normals, grows, 1000, rng)
    if not len(roots):
        return
    length = np.exp(rng.uniform(np.log(1.5), np.log(70)))
    growth = Growth(
        length_mm=np.full(len(roots), length),
        comb=np.tile([0, -1.0, 0.1], (len(roots), 1)),
        comb_reach_mm=60.0,
        lift=0.8,
        fall=0.8,
        stiffness=0.5,
        volume_mm=0.3 * length,
        curl_mm=rng.uniform(0, 2.5),
        curl_length_mm=18.0,
        frizz=rng.uniform(0.1, 0.4),
        clones=6,
        clump_mm=3.0,
    )
    _draw_strands(scene, grow(roots, out, growth, body, rng), style, body, light, rng, label=0.0)


def _draw_glasses(
    scene: Scene, vertices_mm: Float[np.ndarray, "v 3"], canvas: Canvas, rng: np.random.Generator
) -> None:
    """Draw the frame of glasses, and lenses that darken or mirror."""
    lenses, temples = glasses_lines(vertices_mm, canvas, rng)
    colour = draw_colour(rng) * rng.choice([0.05, 1.0])
    width = rng.uniform(1.0, 4.5)
    tint, strength = draw_colour(rng), rng.choice([0.06, rng.uniform(0.3, 0.95)], p=[0.75, 0.25])
    for lens in lenses:
        mask = np.zeros(scene.depth.shape, np.uint8)
        cv2.fillPoly(mask, [np.round(scene.project(lens)[:, :2]).astype(np.int32)], 1)
        scene.linear[mask > 0] += (tint - scene.linear[mask > 0]) * strength
    for line in (*[np.concatenate([lens, lens[:1]]) for lens in lenses], *temples):
        pixels = scene.project(line)
        ends = np.concatenate([pixels[:-1], pixels[1:]], axis=1) - np.array([0, 0, 6, 0, 0, 6.0])
        draw_segments(
            ends, np.tile(colour, (len(ends), 1)), np.full(len(ends), 0.95), 0.0, width, scene.depth, scene.linear,
            scene.hair,
        )  # fmt: skip


def main() -> None:
    """Write a contact sheet: each picture, and beside it its hair in red."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write each picture and its label, too")
    arguments = parser.parse_args()
    tiles = []
    for seed in range(arguments.first, arguments.first + arguments.count):
        photo = make_person(seed)
        red = photo.rgb * (1 - 0.5 * photo.hair[..., None]) + 0.5 * photo.hair[..., None] * np.array([1.0, 0, 0])
        tiles.append((np.hstack([photo.rgb, red])[::2, ::2] * 255).astype(np.uint8))
        if arguments.pictures is not None:
            write_pair(photo, arguments.pictures / f"{seed}")
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 4)
    write_rgb(arguments.out, np.vstack([np.hstack(tiles[k : k + 4]) for k in range(0, len(tiles), 4)]))


def write_pair(photo: LabelledPhoto, stem: Path) -> None:
    """Write a picture as JPEG and its label as PNG."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    bgr, hair = ((values * 255 + 0.5).astype(np.uint8) for values in (photo.rgb[..., ::-1], photo.hair))
    cv2.imwrite(str(stem.with_suffix(".jpg")), bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
    cv2.imwrite(str(stem.with_suffix(".png")), hair)


def make_person(seed: int) -> LabelledPhoto:
    """Draw the person of that seed."""
    maker, rng = head_maker(), np.random.default_rng([seed, 7])
    shape, expression = maker.draw_shape(rng), maker.draw_expression(rng)
    if rng.random() < 0.5:
        expression |= {"jawOpen": rng.uniform(0, 0.3)}
        expression |= dict.fromkeys(("mouthSmileLeft", "mouthSmileRight"), rng.uniform(0, 0.9))
    _, (posed,) = maker.neutral_and_posed(shape, [expression])
    return draw_person(maker.canvas, shape[0], posed, rng)


if __name__ == "__main__":
    main()
