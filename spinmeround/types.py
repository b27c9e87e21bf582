"""The data that flows through the package: frozen dataclasses, no behaviour beyond what follows from their fields.

Frames, units and image conventions are stated once, in CONVENTIONS.md. In short: world is right-handed, +Y up,
+Z out of the face, +X the subject's left, in head units; cameras are OpenCV (+X right, +Y down, +Z forward); pixel
(0, 0) is the top-left corner of the image and pixel centres lie at +0.5; images are channel-last float32 sRGB in
[0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer
from torch import Tensor

Progress = Callable[[float, str], None]
"""Called with the fraction done, in [0, 1], and a short sentence on what is being done."""


def no_progress(fraction: float, message: str) -> None:
    """Ignore the progress of a task."""


@dataclass(frozen=True)
class Portrait:
    """One photo of one person, cropped square around the head and understood.

    Attributes:
        rgb: the crop; where it reaches over the photo's border the colour is white.
        alpha: soft matte of this person, 0 outside ``observed``.
        hair: soft share of ``alpha`` that is hair on the head (a beard is skin); ``hair <= alpha``.
        clothes: soft share of ``alpha`` that is clothes, hands, microphones.
        headwear: soft share of ``alpha`` that is worn on the head; what is left of ``alpha`` is skin.
        foreground: the person's own colours, without the background's where a pixel holds both.
        observed: true where the crop lies inside the photo; a silhouette that ends where this ends is a cut, not an
            outline.
        landmarks_px: 478 face landmarks, pixels of the crop, in the order of MediaPipe's face mesh.
        blendshapes: 52 expression scores in [0, 1], in the order of
            ``spinmeround.portrait.landmarks.BLENDSHAPE_NAMES``.
        head_pose_deg: yaw, pitch, roll of the head as seen by the camera, degrees. Yaw is positive when the subject's
            left side comes into view, pitch when the chin goes up, roll when the head leans toward the image's right.
        crop_from_source: homogeneous 2D transform, pixels of the upright source photo to pixels of the crop.
        identity: unit ArcFace embedding, if one was asked for.
    """

    rgb: Float[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"]
    hair: Float[np.ndarray, "h w"]
    clothes: Float[np.ndarray, "h w"]
    headwear: Float[np.ndarray, "h w"]
    foreground: Float[np.ndarray, "h w 3"]
    observed: Bool[np.ndarray, "h w"]
    landmarks_px: Float[np.ndarray, "478 2"]
    blendshapes: Float[np.ndarray, "52"]
    head_pose_deg: Float[np.ndarray, "3"]
    crop_from_source: Float[np.ndarray, "3 3"]
    identity: Float[np.ndarray, "512"] | None = None


@dataclass(frozen=True)
class HeadFrame:
    """Weak-perspective camera of one head.

    The head frame is in centimetres: origin between the ears behind the nose, +X the subject's left, +Y up, +Z out of
    the face. At the origin one centimetre is ``scale_px`` pixels.

    Attributes:
        picture_from_head: rotation with the picture's axes as rows: right, down, away from the camera.
        origin_px: the head's origin in the picture.
    """

    picture_from_head: Float[np.ndarray, "3 3"]
    origin_px: Float[np.ndarray, "2"]
    scale_px: float

    def project(self, points_cm: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """Project points of the head frame to pixels, orthographically."""
        return np.asarray(points_cm) @ self.picture_from_head[:2].T * self.scale_px + self.origin_px

    @property
    def angles_deg(self) -> Float[np.ndarray, "3"]:
        """Yaw about the head's own up, then pitch, then roll in the picture; signs of ``Portrait.head_pose_deg``."""
        rotation = self.picture_from_head
        toward = -rotation[2]  # the camera, in the head frame
        yaw = np.arctan2(toward[0], toward[2])
        pitch = np.arcsin(np.clip(-toward[1], -1, 1))
        roll = np.arctan2(rotation[0, 1], -rotation[1, 1])
        return np.degrees([yaw, pitch, roll])

    def moved(self, crop_from_picture: Float[np.ndarray, "3 3"]) -> HeadFrame:
        """Return the same head in a crop that was scaled and shifted, not turned."""
        scale = crop_from_picture[0, 0]
        origin = crop_from_picture[:2, :2] @ self.origin_px + crop_from_picture[:2, 2]
        return HeadFrame(self.picture_from_head, origin, self.scale_px * scale)


@dataclass(frozen=True)
class FaceGeometry:
    """Where a face is in a picture.

    Attributes:
        landmarks_px: 478 landmarks in the order of MediaPipe's face mesh.
    """

    landmarks_px: Float[np.ndarray, "478 2"]
    frame: HeadFrame


@dataclass(frozen=True)
class HeadCrop:
    """A square crop of a photo around one head, before it is known which pixels are the person.

    Attributes:
        rgb: white outside ``observed``.
        observed: true where the crop lies inside the photo, a rectangle.
        alpha: the photo's own transparency, if it has any.
        face: the person's face, in pixels of the crop.
        neighbours: the other faces of the photo, in pixels of the crop, which may lie outside it.
    """

    rgb: Float[np.ndarray, "s s 3"]
    observed: Bool[np.ndarray, "s s"]
    alpha: Float[np.ndarray, "s s"] | None
    face: FaceGeometry
    neighbours: tuple[FaceGeometry, ...] = ()


@dataclass(frozen=True)
class Segmentation:
    """Soft parts of a person's matte; the rest is skin.

    Attributes:
        hair: on the head; a beard is skin.
        clothes: clothes, hands, microphones.
        headwear: hats, caps, scarves on the head; by default none.
    """

    hair: Float[np.ndarray, "s s"]
    clothes: Float[np.ndarray, "s s"]
    headwear: Float[np.ndarray, "s s"] | None = None


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras that share one image size; no lens distortion.

    Attributes:
        camera_from_world: rigid transforms, OpenCV camera axes.
        intrinsics_px: ``[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]`` in pixels.
    """

    camera_from_world: Float[np.ndarray, "v 4 4"]
    intrinsics_px: Float[np.ndarray, "v 3 3"]
    width_px: int
    height_px: int

    def __len__(self) -> int:
        return len(self.camera_from_world)


@dataclass(frozen=True)
class Views:
    """Posed pictures of one head: what stage one gives and stage two takes.

    Attributes:
        rgb: not premultiplied; whatever lies outside ``alpha`` is ignored.
        normals_world: unit world-frame normals inside ``alpha``, 0 outside; all 0 when the views carry no normals.
        alpha: coverage of the head.
        weight: trust per pixel in [0, 1].
        names: one file stem per view.
        exact_cameras: whether the pictures were drawn from just these cameras, as renderings of one shape are. No fit
            corrects them; it corrects others that turn out to be off.
    """

    cameras: Cameras
    rgb: Float[np.ndarray, "v h w 3"]
    normals_world: Float[np.ndarray, "v h w 3"]
    alpha: Float[np.ndarray, "v h w"]
    weight: Float[np.ndarray, "v h w"]
    names: tuple[str, ...] = ()
    exact_cameras: bool = False

    def __len__(self) -> int:
        return len(self.cameras)

    def part(self, chosen: slice) -> Views:
        """Return some of the views, which share their pictures with these."""
        given = self.cameras
        cameras = replace(
            given, camera_from_world=given.camera_from_world[chosen], intrinsics_px=given.intrinsics_px[chosen]
        )
        planes = self.rgb[chosen], self.normals_world[chosen], self.alpha[chosen], self.weight[chosen]
        return Views(cameras, *planes, self.names[chosen], self.exact_cameras)


SH_C0 = 0.28209479177387814
"""The spherical harmonic of degree 0, 1 / (2 sqrt(pi)): a splat's colour is 0.5 + SH_C0 * sh[:, 0] + ..."""


@dataclass(frozen=True)
class Splats:
    """3D Gaussians in the world frame, in natural values: logs and logits live in optimisers and in ``io`` only.

    Attributes:
        scales: standard deviations along the local axes, head units, linear.
        quats_wxyz: unit quaternions, world from local.
        opacities: in (0, 1).
        sh: spherical-harmonic colour coefficients of degree 0, 1, 2 or 3 (k = 1, 4, 9, 16), INRIA basis and sign.
    """

    means: Float[Tensor, "n 3"]
    scales: Float[Tensor, "n 3"]
    quats_wxyz: Float[Tensor, "n 4"]
    opacities: Float[Tensor, "n"]
    sh: Float[Tensor, "n k 3"]

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True)
class Mesh:
    """Triangles in the world frame, counter-clockwise seen from outside."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]


@dataclass(frozen=True)
class SurfaceFit:
    """A surface fitted to views.

    Attributes:
        cameras: those from which the surface looks like the views; the ones given, unless the fitter corrected them.
    """

    mesh: Mesh
    cameras: Cameras


@dataclass(frozen=True)
class ColouredMesh:
    """A mesh whose vertices have colours, sRGB in [0, 1]."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    colours: Float[np.ndarray, "v 3"]


ALPHA_CUTOFF = 0.5
"""Opacity from which on a texel of a partly transparent mesh is drawn, entirely."""


@dataclass(frozen=True)
class TexturedMesh:
    """A mesh with one texture.

    Attributes:
        uv: texture coordinates, origin at the *bottom-left* of the image as in OBJ; ``io`` flips for glTF.
        uv_faces: indices into ``uv`` for the corners of each face.
        albedo: sRGB texture, row 0 at the top.
        normal_map: unit normals of finer detail in tangent space, see ``spinmeround.tangent_space``, row 0 at the top:
            x along growing u, y along growing v, z out of the surface.
        alpha: opacity of each texel, in [0, 1]; where it is below ``ALPHA_CUTOFF`` nothing is drawn. None for opaque
            meshes.
        normals: unit normals of the vertices; None for those of the faces around them, averaged.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "t 2"]
    uv_faces: Integer[np.ndarray, "f 3"]
    albedo: Float[np.ndarray, "th tw 3"]
    normal_map: Float[np.ndarray, "nh nw 3"] | None = None
    alpha: Float[np.ndarray, "th tw"] | None = None
    normals: Float[np.ndarray, "v 3"] | None = None


@dataclass(frozen=True)
class HairStrands:
    """Hair as curves in the world frame, each from its root to its tip with the same number of points.

    Attributes:
        points: along each strand, the root first.
        widths: diameter at each point, head units; 0 where a strand ends before its last point.
        colours: sRGB in [0, 1] at each point.
        root_uv: of the skin at the root, origin at the bottom-left of its texture.
    """

    points: Float[np.ndarray, "s p 3"]
    widths: Float[np.ndarray, "s p"]
    colours: Float[np.ndarray, "s p 3"]
    root_uv: Float[np.ndarray, "s 2"]

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class PaintedSurface:
    """What the pictures of a head were drawn from: its surface with its colours, and its strands of hair.

    Attributes:
        mesh: all that is drawn but the strands, from both sides.
        colours: sRGB in [0, 1] at points of it, given by their faces and their weights of the faces' corners.
        strands: as the pictures show them; a piece between two points is drawn where the widths of both are above 0.
    """

    mesh: Mesh
    colours: Callable[[Integer[np.ndarray, "n"], Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]]
    strands: HairStrands | None = None


@dataclass(frozen=True)
class Joint:
    """One bone of a skeleton, which at rest is turned like the world.

    Attributes:
        parent: index of the joint it hangs from, an earlier one; -1 for the root.
        position: where it turns, at rest, world frame.
    """

    name: str
    parent: int
    position: Float[np.ndarray, "3"]


@dataclass(frozen=True)
class Spring:
    """A chain of joints that swings, by the terms of the extension VRMC_springBone of glTF (VRM Consortium).

    Attributes:
        joints: each on the one before, indices into the avatar's; the last one only ends the chain. What follows is
            for each of the others, of the bone from it to the next.
        hit_radii: of the ball around the bone's end that stays out of colliders, head units.
        stiffness: pull back to the rest pose, metres a second.
        gravity: pull down the world's y axis, metres a second.
        drag: fraction of the motion that is lost from one frame to the next.
    """

    joints: tuple[int, ...]
    hit_radii: Float[np.ndarray, "b"]
    stiffness: Float[np.ndarray, "b"]
    gravity: float
    drag: float


@dataclass(frozen=True)
class Collider:
    """A capsule that no spring enters, a ball if it starts where it ends.

    Attributes:
        joint: what carries it, an index into the avatar's joints.
        start, end: of its axis at rest, world frame.
        radius: head units.
    """

    joint: int
    start: Float[np.ndarray, "3"]
    end: Float[np.ndarray, "3"]
    radius: float

    def heights(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Return how far points lie outside at rest, negative within."""
        axis = self.end - self.start
        along = np.clip((points - self.start) @ axis / max(float(axis @ axis), 1e-12), 0, 1)
        return np.linalg.norm(points - self.start - along[:, None] * axis, axis=1) - self.radius


@dataclass(frozen=True)
class AvatarPart:
    """One mesh of an avatar with what moves it.

    Attributes:
        joints: up to four joints that carry each vertex, indices into the avatar's; 0 where the weight is 0.
        weights: shares of these joints, which sum to 1.
        morphs: displacement of each vertex at full activation, by name; names that do not move this part are absent.
        roughness: of the material, in [0, 1].
        two_sided: whether the back of its faces is seen.
    """

    name: str
    mesh: TexturedMesh
    joints: Integer[np.ndarray, "v 4"]
    weights: Float[np.ndarray, "v 4"]
    morphs: Mapping[str, Float[np.ndarray, "v 3"]]
    roughness: float
    two_sided: bool = False


@dataclass(frozen=True)
class Avatar:
    """A head that moves: parts on one skeleton, at rest with a neutral face.

    Attributes:
        joints: parents before their children.
        morph_names: all morph targets, by ARKit's names.
        poses: expressions by name that files carry beside the face at rest: weights of morph targets in (0, 1]; those
            that are absent rest.
        springs: joints that swing, as those of long hair do.
        colliders: what all springs stay out of.
    """

    parts: tuple[AvatarPart, ...]
    joints: tuple[Joint, ...]
    morph_names: tuple[str, ...]
    poses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    springs: tuple[Spring, ...] = ()
    colliders: tuple[Collider, ...] = ()


@dataclass(frozen=True)
class FaceClip:
    """What a face does over time, as keys between which everything changes evenly.

    Attributes:
        times_s: increasing, from 0.
        morphs: weights in [0, 1] of morph targets by ARKit's names; those that are absent rest.
        turns_wxyz: unit quaternions by joint, of which ``head`` is the whole turn against the shoulders; joints that
            are absent rest.
    """

    times_s: Float[np.ndarray, "n"]
    morphs: Mapping[str, Float[np.ndarray, "n"]]
    turns_wxyz: Mapping[str, Float[np.ndarray, "n 4"]]

    def __len__(self) -> int:
        return len(self.times_s)


@dataclass(frozen=True)
class Licence:
    """Under which terms something is used.

    Attributes:
        kind: ``code``, ``model`` or ``library``.
        name: file or package.
    """

    kind: str
    name: str
    licence: str


@dataclass(frozen=True)
class ViewRequest:
    """Which views a prior is asked for.

    Attributes:
        directions: azimuth and elevation of each camera, degrees; None if the prior may choose by the quality.
        photo_cameras: whether the photos' own cameras come first.
        whole_head: whether pictures must hold the head with all its hair, at the price of fewer pixels on the face.
        optional: whether no views need be drawn where the prior makes a head that can move, see ``RiggableHead``.
    """

    directions: tuple[tuple[float, float], ...] | None = None
    photo_cameras: bool = True
    whole_head: bool = True
    optional: bool = False


@dataclass(frozen=True)
class PriorResult:
    """What stage one made.

    Attributes:
        views: none may be drawn if they were optional.
        report: its part of the report.
        head: what the views were made from, if the prior has it; protocols say what it can do: ``RiggableHead``,
            ``HairedHead``, ``PaintedHead``.
    """

    views: Views
    report: Mapping[str, Any] = field(default_factory=dict)
    head: object | None = None


@dataclass(frozen=True)
class Rendering:
    """What a rasteriser returns. ``rgb`` is premultiplied by ``alpha`` over black.

    Attributes:
        depth: expected distance along the camera's +Z, premultiplied by ``alpha``.
        normals_world: blended world normals, premultiplied, not renormalised.
        median_depth: distance along the camera's +Z at which half of the light is left, that of the last splat where
            more than half gets through; 0 where nothing is drawn, not premultiplied. Which splat it comes from has no
            gradient, that splat's depth has. None where the rasteriser has none.
        distortion: how far what a pixel shows is spread in depth: sum over all pairs of splats of weight times weight
            times squared distance in depth. Surfels alone have it, else None.
    """

    rgb: Float[Tensor, "v h w 3"]
    alpha: Float[Tensor, "v h w"]
    depth: Float[Tensor, "v h w"]
    normals_world: Float[Tensor, "v h w 3"]
    median_depth: Float[Tensor, "v h w"] | None = None
    distortion: Float[Tensor, "v h w"] | None = None


@dataclass(frozen=True)
class Reconstruction:
    """Everything one run made.

    Attributes:
        views: what stage one gave to stage two, the photo's own camera first when there is one; none if an avatar was
            all that was asked for and the prior makes that without.
        mesh: textured, or the whole surface with colours where that is all that was asked for.
        report: what ``report.json`` holds.
        files: what was written.
    """

    views: Views
    splats: Splats | None
    mesh: TexturedMesh | ColouredMesh | None
    report: dict[str, Any]
    files: tuple[Path, ...] = field(default=())
    avatar: Avatar | None = None
