"""Write meshes and avatars as ``.usdz`` (Universal Scene Description, Pixar), by the package usd-core."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from spinmeround.io.meshes.corners import smooth_normals
from spinmeround.io.meshes.scaling import scaled
from spinmeround.io.pictures import encode_cutout, encode_jpeg, encode_normal_map
from spinmeround.io.recordings.clip_channels import morphs_done_by_bones
from spinmeround.io.usd.animation import add_poses, animate
from spinmeround.types import ALPHA_CUTOFF, Avatar, AvatarPart, ColouredMesh, FaceClip, Joint, Mesh, TexturedMesh

if TYPE_CHECKING:
    from pxr import Usd, UsdGeom, UsdShade, UsdSkel

log = logging.getLogger(__name__)

_ROOT = "/head"
_ROUGHNESS = 0.9
"""Of a mesh without a material of its own: skin and hair under a plain light."""
_ARCHIVE_TIME_S = 315_619_200
"""The second day of 1980, for all files of the archive; ZIP holds no earlier year."""


def write_usdz(path: Path, avatar: Avatar, *, metres_per_unit: float, clip: FaceClip | None = None) -> None:
    """Write an avatar with its skeleton and blend shapes in metres, +Y up and +Z to the front.

    The textures are JPEG, PNG if they have opacity; normal maps are PNG. The same avatar gives the same bytes.

    Args:
        clip: the animation; None for an avatar at rest, whose poses are variants then. In UsdSkel all parts share
            their weights: if the clip rotates the eye bones, the mesh of the eyes has no gaze blend shapes, and so a
            file with a clip has no poses.
    """
    _write_archive(path, avatar, metres_per_unit, clip)


def write_usdz_mesh(path: Path, mesh: Mesh | ColouredMesh | TexturedMesh, *, metres_per_unit: float) -> None:
    """Write a mesh in metres, +Y up and +Z to the front, its texture as JPEG, its normal map as PNG.

    Colours of vertices are not written. The same mesh gives the same bytes.
    """
    _write_archive(path, scaled(mesh, metres_per_unit), 1.0, None)


def _write_archive(
    path: Path, head: Avatar | Mesh | ColouredMesh | TexturedMesh, metres_per_unit: float, clip: FaceClip | None
) -> None:
    from pxr import Sdf

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        scene = Path(folder, "head.usdc")
        pictures = _write_scene(scene, head, metres_per_unit, clip)
        archive = Sdf.ZipFileWriter.CreateNew(str(path))
        for file in (scene, *pictures):
            os.utime(file, (_ARCHIVE_TIME_S, _ARCHIVE_TIME_S))  # the archive keeps the time of its files
            archive.AddFile(str(file), file.relative_to(folder).as_posix())
        archive.Save()


def _write_scene(
    scene: Path, head: Avatar | Mesh | ColouredMesh | TexturedMesh, metres_per_unit: float, clip: FaceClip | None
) -> list[Path]:
    """Write the scene and, beside it, its textures; return the paths of these."""
    from pxr import Usd, UsdGeom, UsdSkel

    stage = Usd.Stage.CreateNew(str(scene))
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    is_avatar = isinstance(head, Avatar)
    root = UsdSkel.Root.Define(stage, _ROOT) if is_avatar else UsdGeom.Xform.Define(stage, _ROOT)
    stage.SetDefaultPrim(root.GetPrim())
    Usd.ModelAPI(root.GetPrim()).SetKind("component")
    materials = _Materials(stage, scene.parent)
    if is_avatar:
        skeleton = _skeleton(stage, head.joints, metres_per_unit)
        for part in head.parts:
            drawn = _mesh(stage, part.name, part.mesh, metres_per_unit, two_sided=part.two_sided)
            materials.bind(drawn, part.name, part.mesh, part.roughness)
            by_bones = () if clip is None else morphs_done_by_bones(head, part, clip)
            _bind_skeleton(stage, drawn, _without(part, by_bones), skeleton, metres_per_unit)
        if clip is not None:
            animate(stage, skeleton, head, clip, metres_per_unit=metres_per_unit)
            if head.poses:
                log.info("a .usdz with a clip does not carry the pose %s; a .glb does", " or ".join(head.poses))
        elif head.poses:
            add_poses(stage, skeleton, head, metres_per_unit=metres_per_unit)
    else:
        materials.bind(_mesh(stage, "mesh", head, metres_per_unit), "mesh", head, _ROUGHNESS)
    _set_extent(root, stage)
    stage.GetRootLayer().Save()
    return materials.files


def _mesh(
    stage: Usd.Stage,
    name: str,
    mesh: Mesh | ColouredMesh | TexturedMesh,
    metres_per_unit: float,
    *,
    two_sided: bool = False,
) -> UsdGeom.Mesh:
    from pxr import Sdf, UsdGeom, Vt

    drawn = UsdGeom.Mesh.Define(stage, f"{_ROOT}/{name}")
    points = _vectors(np.asarray(mesh.vertices) * metres_per_unit)
    drawn.CreatePointsAttr(points)
    drawn.CreateFaceVertexCountsAttr(_integers(np.full(len(mesh.faces), 3)))
    drawn.CreateFaceVertexIndicesAttr(_integers(mesh.faces))
    drawn.CreateNormalsAttr(_vectors(smooth_normals(mesh)))
    drawn.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    drawn.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    drawn.CreateDoubleSidedAttr(two_sided)
    drawn.CreateExtentAttr(UsdGeom.PointBased.ComputeExtent(points))
    if isinstance(mesh, TexturedMesh):
        kind = Sdf.ValueTypeNames.TexCoord2fArray
        st = UsdGeom.PrimvarsAPI(drawn).CreatePrimvar("st", kind, UsdGeom.Tokens.faceVarying)
        st.Set(Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(mesh.uv, np.float32)))
        st.SetIndices(_integers(mesh.uv_faces))
    return drawn


def _skeleton(stage: Usd.Stage, joints: Sequence[Joint], metres_per_unit: float) -> UsdSkel.Skeleton:
    """Define the joints, named by the path of their ancestors, with translations from their parents only."""
    from pxr import UsdSkel

    paths: list[str] = []
    for joint in joints:
        paths.append(joint.name if joint.parent < 0 else f"{paths[joint.parent]}/{joint.name}")
    skeleton = UsdSkel.Skeleton.Define(stage, f"{_ROOT}/skeleton")
    places = np.stack([joint.position for joint in joints]) * metres_per_unit
    from_parent = np.stack([places[k] - (places[j.parent] if j.parent >= 0 else 0) for k, j in enumerate(joints)])
    skeleton.CreateJointsAttr(paths)
    skeleton.CreateBindTransformsAttr(_matrices(places))
    skeleton.CreateRestTransformsAttr(_matrices(from_parent))
    return skeleton


def _without(part: AvatarPart, morphs: Sequence[str]) -> AvatarPart:
    return replace(part, morphs={name: moved for name, moved in part.morphs.items() if name not in morphs})


def _bind_skeleton(
    stage: Usd.Stage, drawn: UsdGeom.Mesh, part: AvatarPart, skeleton: UsdSkel.Skeleton, metres_per_unit: float
) -> None:
    from pxr import UsdSkel, Vt

    binding = UsdSkel.BindingAPI.Apply(drawn.GetPrim())
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    binding.CreateJointIndicesPrimvar(False, 4).Set(_integers(part.joints))
    binding.CreateJointWeightsPrimvar(False, 4).Set(
        Vt.FloatArray.FromNumpy(np.ascontiguousarray(part.weights, np.float32).ravel())
    )
    shapes = []
    for name, moved in part.morphs.items():
        rows = np.flatnonzero(moved.any(axis=1))
        rows = rows if len(rows) else np.zeros(1, np.int64)  # readers drop what moves nothing
        shape = UsdSkel.BlendShape.Define(stage, drawn.GetPath().AppendChild(name))
        shape.CreateOffsetsAttr(_vectors(moved[rows] * metres_per_unit))
        shape.CreatePointIndicesAttr(_integers(rows))
        shapes.append(shape.GetPath())
    if shapes:
        binding.CreateBlendShapesAttr(list(part.morphs))
        binding.CreateBlendShapeTargetsRel().SetTargets(shapes)


def _set_extent(root: Any, stage: Usd.Stage) -> None:
    from pxr import Usd, UsdGeom

    meshes = [prim for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh)]
    bounds = np.array([UsdGeom.Mesh(prim).GetExtentAttr().Get() for prim in meshes])
    extent = _vectors(np.stack([bounds[:, 0].min(0), bounds[:, 1].max(0)]))
    if root.GetPrim().IsA(UsdGeom.Boundable):
        UsdGeom.Boundable(root.GetPrim()).CreateExtentAttr(extent)
    UsdGeom.ModelAPI(root.GetPrim()).SetExtentsHint(extent, Usd.TimeCode.Default())


class _Materials:
    """The materials of a scene and the pictures beside it; parts that share a picture refer to the same array."""

    def __init__(self, stage: Usd.Stage, folder: Path) -> None:
        self.stage, self.folder = stage, folder
        self.files: list[Path] = []
        self._known: dict[int, str] = {}

    def bind(self, drawn: UsdGeom.Mesh, name: str, mesh: Mesh | ColouredMesh | TexturedMesh, roughness: float) -> None:
        """Give a mesh its own material, lit and not metallic."""
        from pxr import Sdf, UsdShade

        material = UsdShade.Material.Define(self.stage, f"{_ROOT}/materials/{name}")
        surface = UsdShade.Shader.Define(self.stage, material.GetPath().AppendChild("surface"))
        surface.CreateIdAttr("UsdPreviewSurface")
        surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(roughness)
        surface.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
        colour = surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f)
        if isinstance(mesh, TexturedMesh):
            st = self._coordinates(material)
            albedo = self._texture(material, "albedo", self._albedo(name, mesh), st, "sRGB")
            colour.ConnectToSource(albedo.ConnectableAPI(), "rgb")
            if mesh.alpha is not None:
                albedo.CreateOutput("a", Sdf.ValueTypeNames.Float)
                opacity = surface.CreateInput("opacity", Sdf.ValueTypeNames.Float)
                opacity.ConnectToSource(albedo.ConnectableAPI(), "a")
                surface.CreateInput("opacityThreshold", Sdf.ValueTypeNames.Float).Set(ALPHA_CUTOFF)
            if mesh.normal_map is not None:
                file = self._file(f"{name}_normal.png", mesh.normal_map, encode_normal_map)
                texture = self._texture(material, "normal", file, st, "raw")
                texture.CreateInput("scale", Sdf.ValueTypeNames.Float4).Set((2.0, 2.0, 2.0, 1.0))
                texture.CreateInput("bias", Sdf.ValueTypeNames.Float4).Set((-1.0, -1.0, -1.0, 0.0))
                normal = surface.CreateInput("normal", Sdf.ValueTypeNames.Normal3f)
                normal.ConnectToSource(texture.ConnectableAPI(), "rgb")
        material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
        UsdShade.MaterialBindingAPI.Apply(drawn.GetPrim()).Bind(material)

    def _albedo(self, name: str, mesh: TexturedMesh) -> str:
        alpha = mesh.alpha
        if alpha is None:
            return self._file(f"{name}_albedo.jpg", mesh.albedo, encode_jpeg)
        return self._file(f"{name}_albedo.png", mesh.albedo, lambda albedo: encode_cutout(albedo, alpha))

    def _coordinates(self, material: UsdShade.Material) -> UsdShade.Output:
        from pxr import Sdf, UsdShade

        reader = UsdShade.Shader.Define(self.stage, material.GetPath().AppendChild("st"))
        reader.CreateIdAttr("UsdPrimvarReader_float2")
        reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
        return reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)

    def _texture(
        self, material: UsdShade.Material, name: str, file: str, st: UsdShade.Output, colours: str
    ) -> UsdShade.Shader:
        from pxr import Sdf, UsdShade

        texture = UsdShade.Shader.Define(self.stage, material.GetPath().AppendChild(name))
        texture.CreateIdAttr("UsdUVTexture")
        texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(Sdf.AssetPath(file))
        texture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set(colours)
        texture.CreateInput("wrapS", Sdf.ValueTypeNames.Token).Set("repeat")
        texture.CreateInput("wrapT", Sdf.ValueTypeNames.Token).Set("clamp")
        texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(st)
        texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
        return texture

    def _file(self, name: str, picture: np.ndarray, encode: Callable[[np.ndarray], bytes]) -> str:
        if id(picture) not in self._known:
            file = self.folder / name
            file.write_bytes(encode(picture))
            self.files.append(file)
            self._known[id(picture)] = file.name
        return self._known[id(picture)]


def _vectors(values: np.ndarray) -> Any:
    from pxr import Vt

    return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(values, np.float32))


def _integers(values: np.ndarray) -> Any:
    from pxr import Vt

    return Vt.IntArray.FromNumpy(np.ascontiguousarray(values, np.int32).ravel())


def _matrices(places: Float[np.ndarray, "n 3"]) -> Any:
    from pxr import Gf, Vt

    return Vt.Matrix4dArray([Gf.Matrix4d(1.0).SetTranslate(Gf.Vec3d(*map(float, place))) for place in places])
