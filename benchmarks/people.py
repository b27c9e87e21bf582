"""Heads from photos nobody tuned on: likeness, silhouette, and the colours of what no photo shows.

    python benchmarks/people.py [--quick] [--only p06 --only p18] [--sheet OUT.png] [--workers 2]

The photos are those of ``people/`` in the shared data. Likeness is the distance in the embedding of dlib's network
(``identity.py``): from the photo's own camera and from that camera rotated by ±30 and ±45 degrees about the head, with
the photo's expression, and from the front with a neutral face. Colour differences are CIEDE2000. The silhouette is
compared, above the chin, with the union of what the person network and the hair network see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import datasets
import heads
import identity
import numpy as np
from command_line import benchmark_parser, run
from jaxtyping import Bool, Float, UInt8
from pictures import write_scaled_sheet
from skimage.color import deltaE_ciede2000, rgb2lab
from tables import Figure, print_table

from spinmeround.geometry import resized
from spinmeround.orbits import WHOLE_FOCAL_WIDTHS
from spinmeround.pipelines.priors.template import cameras_around
from spinmeround.template.generator import TemplateHead
from spinmeround.template.model.head_model import PARTS
from spinmeround.template.texture.bake import shared_atlas
from spinmeround.types import Portrait

AZIMUTHS_DEG = (0.0, -30.0, 30.0, -45.0, 45.0)
FRONTAL = "frontal, neutral"
QUICK = ("p04", "p06", "p13", "p18")
_SIZE_PX = 512
_CLUSTERS = 5
"""Colours by which hair, and the background beside it, are described."""
_SURE_LANDMARKS = (50, 280, 205, 425, 151, 4, 101, 330, 117, 346)
"""Landmarks on cheeks, forehead and nose: skin in every photo."""


def photos() -> dict[str, Path]:
    """Return the people's photos by name."""
    return {path.stem: path for path in sorted((datasets.data_folder() / "people").glob("p*.*"))}


def measure_photo(photo: Path) -> tuple[dict[str, float], UInt8[np.ndarray, "h w 3"]]:
    """Return the figures of one photo, and a row of pictures."""
    reference = identity.descriptor_of_photo(photo)
    head, (portrait,) = heads.fit([photo])
    camera = resized(head.photo_cameras[0], _SIZE_PX, _SIZE_PX)
    shown = heads.picture(head, heads.orbited(camera, AZIMUTHS_DEG), neutral=False)
    sides = [(azimuth_deg, 0.0) for azimuth_deg in (0.0, 90.0, 180.0, -90.0)]
    around, _ = cameras_around(sides, size_px=_SIZE_PX, focal_widths=WHOLE_FOCAL_WIDTHS, hair=head.coverings_above_neck)
    neutral = heads.picture(head, around, neutral=True)
    pictures = dict(zip([*map(str, AZIMUTHS_DEG), FRONTAL], [*shown, neutral[0]], strict=True))
    figures = {name: identity.distance(reference, identity.descriptor(each)) for name, each in pictures.items()}
    figures["IoU"] = silhouette_iou(head, portrait)
    figures["skin"] = unseen_skin_difference(head, portrait)
    figures["hair"], figures["background"] = hair_differences(head, portrait)
    crop = cv2.resize((portrait.rgb * 255).astype(np.uint8), (_SIZE_PX, _SIZE_PX), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(_classes_picture(portrait), (_SIZE_PX, _SIZE_PX), interpolation=cv2.INTER_AREA)
    row = [crop, mask, *shown[:1], *neutral, shown[3], shown[4]]
    return figures, np.hstack(row)


def _classes_picture(portrait: Portrait) -> UInt8[np.ndarray, "s s 3"]:
    """Return the portrait over grey, its hair tinted red, its headwear green, its clothes blue."""
    over = portrait.rgb * portrait.alpha[..., None] + 0.6 * (1 - portrait.alpha[..., None])
    red, green, blue = [1.0, 0.1, 0.1], [0.1, 1.0, 0.2], [0.1, 0.2, 1.0]
    for matte, tint in ((portrait.hair, red), (portrait.headwear, green), (portrait.clothes, blue)):
        over = over * (1 - 0.4 * matte[..., None]) + 0.4 * matte[..., None] * np.array(tint)
    return (np.clip(over, 0, 1) * 255).astype(np.uint8)


def silhouette_iou(head: TemplateHead, portrait: Portrait) -> float:
    """Return the intersection over union of the rendered head and what the networks see, above the chin.

    Clothes, as the package itself finds them, do not count: the head ends above the shoulders, which a photo may show
    beside the jaw.
    """
    camera = head.photo_cameras[0]
    drawn = head.render(camera).alpha[0] > 0.5
    counts = portrait.observed & (np.arange(len(drawn)) < portrait.landmarks_px[152, 1])[:, None]
    counts &= portrait.clothes < 0.5
    seen = person_of_networks(portrait)
    return float((drawn & seen & counts).sum() / max(((drawn | seen) & counts).sum(), 1))


def person_of_networks(portrait: Portrait) -> Bool[np.ndarray, "s s"]:
    """Return what the person network or the hair network see, in one piece with the face."""
    from spinmeround.portrait.matting import person_prior

    mask = person_prior(portrait.rgb) > 0.5
    face = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(portrait.landmarks_px.astype(np.int32)), 1)
    mask |= official_hair(portrait) | (face > 0)
    _, labels = cv2.connectedComponents((mask & portrait.observed).astype(np.uint8))
    return labels == np.bincount(labels[(face > 0) & (labels > 0)]).argmax()


def official_hair(portrait: Portrait) -> Bool[np.ndarray, "s s"]:
    """Return what MediaPipe's hair network sees in the portrait."""
    from spinmeround.portrait.tflite import TfliteModel

    model = TfliteModel((datasets.data_folder() / "models" / "hair_segmentation.tflite").read_bytes())
    side = 512
    small = cv2.resize(portrait.rgb, (side, side), interpolation=cv2.INTER_AREA)
    logits = model(np.dstack([small, np.zeros((side, side))]))[(1, side, side, 2)][0]
    probability = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
    return cv2.resize(probability, portrait.alpha.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5


def unseen_skin_difference(head: TemplateHead, portrait: Portrait) -> float:
    """Return the median colour difference of skin that no photo shows to the median of sure skin."""
    texture, atlas = head.skin, shared_atlas(len(head.skin.albedo))
    masks = head.model.masks
    hidden = np.maximum.reduce([masks["cavity"], masks["lips"], masks["nostrils"], head.ears_covered])
    bare = (atlas.part == PARTS.index("skin")) & (atlas.spread(hidden[:, None])[..., 0] < 0.1)
    unseen = bare & (texture.observed < 0.05)
    sure = np.concatenate([_patch(portrait, number) for number in _SURE_LANDMARKS])
    reference = np.median(rgb2lab(sure), axis=0)
    return float(np.median(_difference(rgb2lab(texture.albedo[unseen]), reference)))


def _patch(portrait: Portrait, landmark: int) -> Float[np.ndarray, "n 3"]:
    column, row = portrait.landmarks_px[landmark].astype(int)
    return portrait.rgb[row - 6 : row + 7, column - 6 : column + 7].reshape(-1, 3)


def hair_differences(head: TemplateHead, portrait: Portrait) -> tuple[float, float]:
    """Return the colour difference of unseen to seen hair, and the fraction of hair in the background's colours."""
    if head.hair is None:
        return np.nan, np.nan
    texture = head.hair.texture
    seen = texture.occupied & (texture.observed > 0.5)
    unseen = texture.occupied & (texture.observed < 0.05)
    lab = rgb2lab(texture.albedo)
    difference = np.nan
    if seen.sum() > 500 and unseen.sum() > 500:
        difference = float(_difference(np.median(lab[unseen], axis=0), np.median(lab[seen], axis=0)))
    kernel = np.ones((25, 25), np.uint8)
    person = person_of_networks(portrait).astype(np.uint8)
    beside = (cv2.dilate(person, np.ones((61, 61), np.uint8)) > 0) & (cv2.dilate(person, kernel) == 0)
    inside = cv2.erode(official_hair(portrait).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    beside &= portrait.observed
    if beside.sum() < 500 or inside.sum() < 500:
        return difference, np.nan
    colours = [_clusters(rgb2lab(portrait.rgb[mask])) for mask in (inside, beside)]
    texels = lab[texture.occupied][::7]
    to_hair, to_background = (
        np.min([_difference(texels, centre) for centre in centres], axis=0) for centres in colours
    )
    # Where hair and background share a colour nothing can be said.
    return difference, float((to_background + 3 < to_hair).mean())


def _difference(lab: Float[np.ndarray, "*n 3"], reference: Float[np.ndarray, "3"]) -> Float[np.ndarray, "*n"]:
    return deltaE_ciede2000(lab, np.broadcast_to(reference, lab.shape))


def _clusters(lab: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "k 3"]:
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 30, 0.5)
    cv2.setRNGSeed(0)
    sample = lab[:: max(1, len(lab) // 4000)].astype(np.float32)
    return cv2.kmeans(sample, _CLUSTERS, None, criteria, 1, cv2.KMEANS_PP_CENTERS)[2]


def figures_of(people: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    """Return the figures and bars from the figures by photo."""

    def values(*names: str) -> Float[np.ndarray, "n"]:
        return np.array([figures[name] for figures in people.values() for name in names])

    own, frontal, iou = values("0.0"), values(FRONTAL), values("IoU")
    skin, hair, background = (values(name) for name in ("skin", "hair", "background"))
    found = (values(*map(str, AZIMUTHS_DEG), FRONTAL) < identity.NOT_DETECTED).mean()
    return [
        Figure("photo's camera, mean", own.mean(), 0.16),
        Figure("photo's camera, worst", own.max(), 0.25),
        Figure("frontal neutral, mean", frontal.mean(), 0.26),
        Figure("frontal neutral, worst", frontal.max(), 0.36),
        Figure("±30°, mean", values("-30.0", "30.0").mean(), 0.33),
        Figure("±45°, mean", values("-45.0", "45.0").mean(), 0.44),
        Figure("pictures with a face", found, 1.0, at_most=False),
        Figure("silhouette IoU, mean", iou.mean(), 0.97, at_most=False),
        Figure("silhouette IoU, worst", iou.min(), 0.95, at_most=False),
        Figure("unseen skin, mean", skin.mean(), 5, unit=" ΔE"),
        Figure("unseen skin, worst", skin.max(), 9, unit=" ΔE"),
        Figure("unseen hair, mean", float(np.nanmean(hair)), 6, unit=" ΔE"),
        Figure("hair in the background's colours", float(np.nanmean(background)), 0.01),
    ]


def measure(
    *, quick: bool, only: Sequence[str] | None = None, workers: int = 2, sheet: Path | None = None
) -> list[Figure]:
    """Measure all people, four of them if quick; print every figure."""
    chosen = {name: path for name, path in photos().items() if name in (only or (QUICK if quick else photos()))}
    # Spawned, since threads of numba and torch do not survive a fork.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        measured = dict(zip(chosen, pool.map(measure_photo, chosen.values()), strict=True))
    people = {name: figures for name, (figures, _) in measured.items()}
    columns = list(next(iter(people.values())))
    rows = [[name, *[f"{figures[c]:.3f}" for c in columns]] for name, figures in people.items()]
    print_table(["person", *columns], rows, title="people")
    if sheet is not None:
        for first in range(0, len(measured), 8):
            path = sheet.with_name(f"{sheet.stem}_{first // 8}{sheet.suffix}")
            write_scaled_sheet(path, [row for _, row in measured.values()][first : first + 8], 0.45)
    return figures_of(people)


def main() -> None:
    """Print the figures."""
    parser = benchmark_parser(
        __doc__, quick="four people", sheet="each photo, its classes, and our pictures; eight people a file"
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="a person; may be given several times")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="people at a time")
    run(measure, parser, title="people")


if __name__ == "__main__":
    main()
