"""Write face clips and poses as UsdSkel animations: weights of blend shapes and rotations of bones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from spinmeround.io.recordings.clip_channels import joint_rotations
from spinmeround.types import Avatar, FaceClip

if TYPE_CHECKING:
    from pxr import Usd, UsdSkel


def animate(
    stage: Usd.Stage, skeleton: UsdSkel.Skeleton, avatar: Avatar, clip: FaceClip, *, metres_per_unit: float
) -> None:
    """Write the clip beneath the skeleton and bind it there; set the length and rate of the stage.

    The frame rate is that of the clip's median time step; keys may lie between frames.
    """
    from pxr import Gf, UsdSkel, Vt

    rate = round(1 / float(np.median(np.diff(clip.times_s)))) if len(clip) > 1 else 24
    frames = np.asarray(clip.times_s) * rate
    stage.SetTimeCodesPerSecond(rate)
    stage.SetFramesPerSecond(rate)
    stage.SetStartTimeCode(0.0)
    stage.SetEndTimeCode(float(frames[-1]))
    animation = _define(stage, skeleton, avatar, "face", metres_per_unit)
    identity = np.eye(1, 4).repeat(len(clip), axis=0)
    rotations = [joint_rotations(clip, joint.name) for joint in avatar.joints]
    per_frame = np.stack([identity if rotation is None else rotation for rotation in rotations], axis=1)
    attribute = animation.CreateRotationsAttr()
    for frame, row in zip(frames.tolist(), per_frame.tolist(), strict=True):
        attribute.Set(Vt.QuatfArray([Gf.Quatf(w, x, y, z) for w, x, y, z in row]), frame)
    names = [name for name in avatar.morph_names if name in clip.morphs]
    animation.CreateBlendShapesAttr(names)
    weights = animation.CreateBlendShapeWeightsAttr()
    columns = np.stack([clip.morphs[name] for name in names], axis=1) if names else np.zeros((len(clip), 0))
    for frame, row in zip(frames.tolist(), columns, strict=True):
        weights.Set(Vt.FloatArray.FromNumpy(np.ascontiguousarray(row, np.float32)), frame)
    UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets([animation.GetPath()])


def add_poses(stage: Usd.Stage, skeleton: UsdSkel.Skeleton, avatar: Avatar, *, metres_per_unit: float) -> None:
    """Write each pose as an animation without time, which the variant of its name binds to the skeleton.

    The variant set is called ``pose`` and belongs to the default prim. ``rest``, which binds none, is selected.
    """
    from pxr import Gf, Tf, UsdSkel, Vt

    variants = stage.GetDefaultPrim().GetVariantSets().AddVariantSet("pose")
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    variants.AddVariant("rest")
    for name, weights in avatar.poses.items():
        variant = Tf.MakeValidIdentifier(name)
        animation = _define(stage, skeleton, avatar, variant, metres_per_unit)
        animation.CreateRotationsAttr(Vt.QuatfArray(len(avatar.joints), Gf.Quatf(1)))
        animation.CreateBlendShapesAttr(list(weights))
        animation.CreateBlendShapeWeightsAttr(Vt.FloatArray(list(weights.values())))
        variants.AddVariant(variant)
        variants.SetVariantSelection(variant)
        with variants.GetVariantEditContext():
            binding.CreateAnimationSourceRel().SetTargets([animation.GetPath()])
    variants.SetVariantSelection("rest")


def _define(
    stage: Usd.Stage, skeleton: UsdSkel.Skeleton, avatar: Avatar, name: str, metres_per_unit: float
) -> UsdSkel.Animation:
    """Define an animation beneath the skeleton that leaves all bones at their place and of their size."""
    from pxr import Gf, UsdSkel, Vt

    animation = UsdSkel.Animation.Define(stage, skeleton.GetPath().AppendChild(name))
    animation.CreateJointsAttr(skeleton.GetJointsAttr().Get())
    animation.CreateTranslationsAttr(
        Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(_translations(avatar) * metres_per_unit, np.float32))
    )
    animation.CreateScalesAttr(Vt.Vec3hArray(len(avatar.joints), Gf.Vec3h(1, 1, 1)))
    return animation


def _translations(avatar: Avatar) -> Float[np.ndarray, "j 3"]:
    return np.stack([j.position - (avatar.joints[j.parent].position if j.parent >= 0 else 0) for j in avatar.joints])
