"""Stage one without learnt weights: fit the head template to photos, add hair and skin texture, render views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import resized
from spinmeround.template.avatar.build import AvatarDetail, HairStyle, Lod, build_avatar
from spinmeround.template.avatar.rest_pose import rest_vertices
from spinmeround.template.fit.fitter import FittedHead, fit_head
from spinmeround.template.fit.photo_balance import balance_photos
from spinmeround.template.fit.photo_lookup import PhotoEvidence, gather_evidence
from spinmeround.template.hair.background_colours import without_background
from spinmeround.template.hair.curl import shown_curl
from spinmeround.template.hair.photo_projection import ProjectedPhoto
from spinmeround.template.hair.texture import paint_hair
from spinmeround.template.hair.volume import (
    flatten_covered_ears,
    hair_coverage,
    hair_surface,
    hair_thickness,
    is_stubble,
)
from spinmeround.template.headwear import (
    as_hair,
    headwear_coverage,
    headwear_evidence,
    headwear_surface,
    paint_headwear,
)
from spinmeround.template.model import neck_cut
from spinmeround.template.model.head_model import HeadModel, load_head_model
from spinmeround.template.render import Covering, Skin, painted_surface, render_views
from spinmeround.template.strands.build import HairSurface, grow_strands, hair_length
from spinmeround.template.strands.direction_field import photographed_orientations, surface_directions
from spinmeround.template.strands.settings import StrandGrowthSettings
from spinmeround.template.texture.bake import TEXTURE_PX, SkinTexture, bake_skin_texture, shared_atlas
from spinmeround.template.texture.lids import best_lid_trust, repaint_lids
from spinmeround.types import Avatar, Cameras, HairStrands, Mesh, PaintedSurface, Portrait, Progress, Views, no_progress

PHOTO_POSE = "photo"
"""Name of the avatar's pose that has the expression of the first photo."""


@dataclass(frozen=True)
class TemplateHead:
    """The template fitted to one person.

    Attributes:
        photo_cameras: one ``Cameras`` of length one per photo, in pixels of its portrait.
        head: the fitted shape, expressions and cameras.
        skin: the baked texture of the skin.
        hair: None if the head is bald or shaved.
        ears_covered: fraction of hair and headwear over each dense vertex; ears that they cover are flattened.
        report: landmark errors, overlap of the silhouettes, and observed fractions of skin, hair and headwear.
        headwear: None if nothing is worn on the head.
    """

    model: HeadModel
    head: FittedHead
    skin: SkinTexture
    hair: Covering | None
    ears_covered: np.ndarray
    report: dict[str, Any]
    headwear: Covering | None = None

    @property
    def coverings(self) -> tuple[Covering, ...]:
        """Hair and headwear, as far as there are any."""
        return tuple(each for each in (self.hair, self.headwear) if each is not None)

    @property
    def photo_cameras(self) -> tuple[Cameras, ...]:
        """Cameras of the photos, relative to the head in the world frame."""
        return tuple(photo.camera for photo in self.head.photos)

    @property
    def coverings_above_neck(self) -> Float[np.ndarray, "n 3"]:
        """Vertices of hair and headwear, world frame, without those below the neck's edge, where pictures end."""
        vertices = np.concatenate([np.zeros((0, 3)), *(each.mesh.vertices for each in self.coverings)])
        return vertices[vertices[:, 1] > neck_cut.HEIGHT]

    def hair_strands(self) -> HairStrands | None:
        """Return the hair as strands on the head at rest; None if it is bald or shaved."""
        return None if self.hair is None else self.hair.strands

    def render(self, cameras: Cameras, *, neutral: bool = False, names: tuple[str, ...] = ()) -> Views:
        """Render views of the head with the first photo's expression, or at rest if ``neutral`` is set."""
        return render_views(self._skin(neutral=neutral), self.coverings, cameras, names=names)

    def painted_surface(self, cameras: Cameras, *, neutral: bool = False) -> PaintedSurface:
        """Return what ``render`` draws for the same cameras."""
        return painted_surface(self._skin(neutral=neutral), self.coverings, cameras)

    def _skin(self, *, neutral: bool) -> Skin:
        """Return the skin with the first photo's expression, or at rest if ``neutral`` is set."""
        coarse = self.head.neutral if neutral else self.head.posed(0)
        vertices = flatten_covered_ears(self.model, self.model.dense(coarse), self.ears_covered)
        albedo = self.skin.albedo
        if neutral and self.skin.resting_albedo is not None:
            albedo = self.skin.resting_albedo
        return Skin(self.model, vertices, albedo)

    def as_photographed(self, photo: int, *, size_px: int) -> Views:
        """Render the head from the camera of one photo and with its expression, the whole portrait square."""
        vertices = flatten_covered_ears(self.model, self.model.dense(self.head.posed(photo)), self.ears_covered)
        camera = resized(self.photo_cameras[photo], size_px, size_px)
        return render_views(Skin(self.model, vertices, self.skin.albedo), self.coverings, camera)

    def avatar(
        self,
        *,
        lod: Lod = 0,
        texture_px: int = 2048,
        normal_map: bool = False,
        delight: float = 0.7,
        hair: HairStyle = "cards",
    ) -> Avatar:
        """Build the head with bones and morph targets, at rest; see ``build_avatar`` and ``repaint_lids``.

        The first photo's expression is its pose ``photo``.

        Args:
            delight: fraction of the photo's light that is taken out of the skin's colours, in [0, 1].
            hair: what it is made of at levels of detail 0 and 1.
        """
        moving = self.skin.albedo if self.skin.animatable_albedo is None else self.skin.animatable_albedo
        atlas = shared_atlas(len(moving))
        if self.skin.light is not None:
            moving = self.skin.light.taken_out(atlas, moving, delight)
        albedo = repaint_lids(self.model, atlas, moving, best_lid_trust(self.head))
        at_rest = build_avatar(
            self.model,
            rest_vertices(self.head),
            self.ears_covered,
            replace(self.skin, albedo=albedo),
            self.coverings,
            AvatarDetail(lod, texture_px, normal_map, hair),
        )
        weights = zip(self.model.expression_names, self.head.photos[0].expression.tolist(), strict=True)
        return replace(at_rest, poses={PHOTO_POSE: {name: weight for name, weight in weights if weight > 0}})


@dataclass(frozen=True)
class HeadDetail:
    """How finely a head is painted.

    Attributes:
        texture_px: side of the skin's texture.
        strand_points: points of all strands together, at most: fewer strands, not shorter ones.
    """

    texture_px: int = TEXTURE_PX
    strand_points: int = StrandGrowthSettings.budget


class TemplateGenerator:
    """The parametric head fitted to photos, with hair and skin.

    Args:
        neutral: render the face at rest instead of the expression of the first photo.
        detail: how finely it is painted.
        progress: called with the fraction done, in [0, 1], and what is being done.
    """

    def __init__(
        self, *, neutral: bool = False, detail: HeadDetail | None = None, progress: Progress | None = None
    ) -> None:
        self.neutral = neutral
        self._detail = detail or HeadDetail()
        self._progress = progress or no_progress

    def generate(self, portraits: Sequence[Portrait], cameras: Cameras, *, seed: int) -> Views:
        """Fit the head and render it; call ``fit`` for the head itself."""
        return self.fit(portraits, seed=seed).render(cameras, neutral=self.neutral)

    def fit(self, portraits: Sequence[Portrait], *, seed: int) -> TemplateHead:
        """Fit one head to one or several photos of one person.

        Args:
            portraits: photos of one person.
            seed: of the noise that unseen strands of hair are synthesised from.

        Raises:
            FitError: the landmarks of a photo cannot be brought into agreement with a head.
        """
        model = load_head_model()
        self._progress(0.0, "fitting the head")
        covered = [as_hair(portrait) for portrait in portraits]
        head = fit_head(covered, model)
        self._progress(0.35, "shaping the hair")
        evidence = balance_photos(model, gather_evidence(model, head, portraits))
        evidence = [replace(photo, portrait=without_background(photo.portrait, photo.unit_px)) for photo in evidence]
        surfaces, coverage = _shape_coverings(model, head, evidence)
        self._progress(0.6, "painting the skin")
        skin = bake_skin_texture(
            model,
            head,
            [as_hair(photo.portrait) for photo in evidence],
            coverage,
            size_px=self._detail.texture_px,
        )
        self._progress(0.85, "painting the hair")
        surface, cap = surfaces
        hair = headwear = None
        if surface is not None:
            hair = _grow_hair(model, head, coverage, surface, evidence, budget=self._detail.strand_points, seed=seed)
        if cap is not None:
            headwear = Covering("headwear", cap, paint_headwear(cap, headwear_evidence(evidence)))
        self._progress(1.0, "head ready")
        return TemplateHead(model, head, skin, hair, coverage, _report(head, skin, hair, headwear), headwear)


def _shape_coverings(
    model: HeadModel, head: FittedHead, evidence: Sequence[PhotoEvidence]
) -> tuple[tuple[Mesh | None, Mesh | None], Float[np.ndarray, "m"]]:
    """Return the surfaces of hair and headwear, and the fraction of both over each dense vertex."""
    cloth_evidence = headwear_evidence(evidence)
    worn = headwear_coverage(model, cloth_evidence)
    grown = hair_coverage(model, evidence) * (1 - worn)
    coverage = np.minimum(grown + worn, 1)
    neutral = flatten_covered_ears(model, model.dense(head.neutral), coverage)
    headwear = headwear_surface(model, neutral, worn, cloth_evidence)
    hair = None
    if not is_stubble(model, grown, evidence):
        thickness = hair_thickness(model, grown, evidence)
        hidden = None if headwear is None else worn
        hair = hair_surface(model, neutral, grown, thickness, evidence, hidden=hidden)
    return (hair, headwear), coverage


def _grow_hair(
    model: HeadModel,
    head: FittedHead,
    coverage: Float[np.ndarray, "m"],
    surface: Mesh,
    evidence: Sequence[PhotoEvidence],
    *,
    budget: int,
    seed: int,
) -> Covering:
    """Return the surface of the hair with its colours and strands."""
    photos = [ProjectedPhoto.of(photo, surface) for photo in evidence]
    orientations = photographed_orientations(evidence)
    directions = surface_directions(surface, evidence, photos, orientations)
    curl = shown_curl(evidence, orientations)
    neutral = flatten_covered_ears(model, model.dense(head.neutral), coverage)
    length = hair_length(model, neutral, surface)
    texture = paint_hair(surface, directions, curl, evidence, photos, length=length, rng=np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    measured = HairSurface(surface, directions, curl, texture)
    strands = grow_strands(model, neutral, coverage, measured, evidence, budget=budget, rng=rng)
    return Covering("hair", surface, texture, strands)


def _report(head: FittedHead, skin: SkinTexture, hair: Covering | None, headwear: Covering | None) -> dict[str, Any]:
    """Return what ``report.json`` says about the head; its keys are part of that format."""
    return {
        "photos": [
            {
                "landmark_error_px": round(photo.landmark_error_px, 3),
                "landmark_error_share_of_eye_distance": round(photo.landmark_error_iod, 5),
                "outline_iou": round(photo.silhouette_iou, 4),
            }
            for photo in head.photos
        ],
        "observed_share": {
            "skin": round(float(skin.observed.mean()), 4),
            "hair": round(hair.texture.observed_fraction, 4) if hair else None,
            "headwear": round(headwear.texture.observed_fraction, 4) if headwear else None,
        },
    }
