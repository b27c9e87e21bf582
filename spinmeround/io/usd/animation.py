"""A clip of a face as a UsdSkel animation: weights of blend shapes and turns of bones, sampled in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from spinmeround.io.recordings.clip_channels import joint_turns
from spinmeround.types import Avatar, FaceClip

if TYPE_CHECKING:
    from pxr import Usd, UsdSkel


def animate(
    stage: Usd.Stage, skeleton: UsdSkel.Skeleton, avatar: Avatar, clip: FaceClip, *, metres_per_unit: float
) -> None:
    """Writes the clip beneath the skeleton and binds it there; the stage gets its length and rate.

    A frame of the stage is the clip's usual step; keys in between lie between frames.
    """
    from pxr import Gf, UsdSkel, Vt

    rate = round(1 / float(np.median(np.diff(clip.times_s)))) if len(clip) > 1 else 24
    frames = np.asarray(clip.times_s) * rate
    stage.SetTimeCodesPerSecond(rate)
    stage.SetFramesPerSecond(rate)
    stage.SetStartTimeCode(0.0)
    stage.SetEndTimeCode(float(frames[-1]))
    animation = UsdSkel.Animation.Define(stage, skeleton.GetPath().AppendChild("face"))
    animation.CreateJointsAttr(skeleton.GetJointsAttr().Get())
    animation.CreateTranslationsAttr(
        Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(_from_parents(avatar) * metres_per_unit, np.float32))
    )
    animation.CreateScalesAttr(Vt.Vec3hArray(len(avatar.joints), Gf.Vec3h(1, 1, 1)))
    unturned = np.eye(1, 4).repeat(len(clip), axis=0)
    found = [joint_turns(clip, joint.name) for joint in avatar.joints]
    turns = np.stack([unturned if turn is None else turn for turn in found], axis=1)
    rotations = animation.CreateRotationsAttr()
    for frame, row in zip(frames.tolist(), turns.tolist(), strict=True):
        rotations.Set(Vt.QuatfArray([Gf.Quatf(w, x, y, z) for w, x, y, z in row]), frame)
    names = [name for name in avatar.morph_names if name in clip.morphs]
    animation.CreateBlendShapesAttr(names)
    weights = animation.CreateBlendShapeWeightsAttr()
    columns = np.stack([clip.morphs[name] for name in names], axis=1) if names else np.zeros((len(clip), 0))
    for frame, row in zip(frames.tolist(), columns, strict=True):
        weights.Set(Vt.FloatArray.FromNumpy(np.ascontiguousarray(row, np.float32)), frame)
    UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets([animation.GetPath()])


def _from_parents(avatar: Avatar) -> Float[np.ndarray, "j 3"]:
    return np.stack([j.position - (avatar.joints[j.parent].position if j.parent >= 0 else 0) for j in avatar.joints])
