"""Several photos in the layout of the texture become one: each place from the photo that sees it best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.photo_balance import best_seen_shares
from spinmeround.template.model.atlas import Atlas
from spinmeround.template.texture.fill import Layer, MembraneSolver, tone_matched


@dataclass(frozen=True)
class _MergeSettings:
    """Constants of the merging of photos.

    Attributes:
        bare_weight: a photo that sees a texel with more weight than this knows whether there is hair before it.
        hair_excess: where a photo has so much more hair than the photo with least, it begins to lose weight, ...
        hair_gone: ... and has lost it all where it has this much more.
        moved: where the expression moves the skin so far from where the first photo's has it, a photo counts half, head
            units: a smile's folds do not belong on a face at rest.
    """

    bare_weight: float = 0.3
    hair_excess: float = 0.05
    hair_gone: float = 0.3
    moved: float = 0.015


_MERGE = _MergeSettings()


@dataclass(frozen=True)
class PhotoLayer:
    """One photo in the layout of the texture.

    Attributes:
        skin: its skin; ``inner``: its eyes and mouth.
        fitness: how fit the photo is to show each texel, in a unit common to all photos, see ``photo_fitness``.
        hair: fraction of hair in each texel's pixel.
    """

    skin: Layer
    inner: Layer
    fitness: Float32[np.ndarray, "t t"]
    hair: Float32[np.ndarray, "t t"]


@dataclass(frozen=True)
class MergedPhotos:
    """What several photos show together.

    Attributes:
        skin: the skin; ``inner``: eyes and mouth.
        shares: how much of the skin each photo gives to each texel; they sum to 1 where any of them shows it.
    """

    skin: Layer
    inner: Layer
    shares: tuple[Float32[np.ndarray, "t t"], ...]


def merge_photos(
    photos: Sequence[PhotoLayer],
    atlas: Atlas,
    membrane: MembraneSolver,
    inside: Bool[np.ndarray, "t t"],
    *,
    prior_weight: float,
) -> MergedPhotos:
    """Return the skin, and eyes and mouth, of all photos.

    Skin takes the tone of the first photo, in low frequencies. What is hair in one photo and skin in another comes from
    the other.

    Args:
        inside: texels of skin.
        prior_weight: of no difference in tone, see ``tone_matched``.
    """
    if len(photos) == 1:
        alone = photos[0]
        return MergedPhotos(alone.skin, alone.inner, ((alone.skin.weight > 0).astype(np.float32),))
    skins = _without_hair_in_the_way(photos)
    qualities = [layer.weight * photo.fitness for layer, photo in zip(skins, photos, strict=True)]
    merged, tones = skins[0], [skins[0].rgb]
    for below in skins[1:]:
        tones.append(tone_matched(merged, below, atlas, membrane, inside, prior_weight=prior_weight))
        # What is matched next is matched to all that was there before.
        known = merged.weight + (1 - merged.weight) * below.weight
        fraction = (merged.weight / np.maximum(known, 1e-6))[..., None]
        merged = Layer((merged.rgb * fraction + tones[-1] * (1 - fraction)).astype(np.float32), known)
    shares = best_seen_shares(qualities)
    inner = [photo.inner for photo in photos]
    inner_qualities = [layer.weight * photo.fitness for layer, photo in zip(inner, photos, strict=True)]
    mixed = _mixed([layer.rgb for layer in inner], inner, best_seen_shares(inner_qualities))
    return MergedPhotos(_mixed(tones, skins, shares), mixed, tuple(shares))


def photo_fitness(
    sharpness: Float32[np.ndarray, "t t"], atlas: Atlas, moved: Float[np.ndarray, "m"]
) -> Float32[np.ndarray, "t t"]:
    """Return how fit a photo is to show each texel: sharp, and with the first photo's expression.

    Args:
        sharpness: pixels of the photo to a head unit on the surface.
        moved: how far the expression moves each dense vertex from where the first photo's has it, head units.
    """
    alike = 1 / (1 + (moved / _MERGE.moved) ** 2)
    return (sharpness * atlas.spread(alike[:, None])[..., 0]).astype(np.float32)


def _without_hair_in_the_way(photos: Sequence[PhotoLayer]) -> list[Layer]:
    """Take weight from texels whose pixel has hair where another photo sees them bare."""
    bare = np.stack([np.where(photo.skin.weight > _MERGE.bare_weight, photo.hair, np.inf) for photo in photos])
    least = bare.min(axis=0)
    layers = []
    for photo in photos:
        excess = np.where(np.isfinite(least), photo.hair - least, 0)
        in_the_way = smooth_ramp(excess, _MERGE.hair_excess, _MERGE.hair_gone)
        layers.append(Layer(photo.skin.rgb, (photo.skin.weight * (1 - in_the_way)).astype(np.float32)))
    return layers


def _mixed(
    colours: Sequence[Float[np.ndarray, "t t 3"]], layers: Sequence[Layer], shares: Sequence[Float[np.ndarray, "t t"]]
) -> Layer:
    """Return colours by their shares, trusted as far as the photos together are."""
    rgb = sum(rgb * share[..., None] for rgb, share in zip(colours, shares, strict=True))
    unseen = np.prod([1 - layer.weight for layer in layers], axis=0)
    return Layer(np.clip(rgb, 0, 1).astype(np.float32), (1 - unseen).astype(np.float32))
