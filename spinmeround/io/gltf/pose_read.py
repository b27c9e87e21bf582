"""Read the poses of an avatar: animations of one key in glTF, custom expressions in VRM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spinmeround.io.gltf.scene import Scene
from spinmeround.io.recordings.expressions import perfect_sync


def read_poses(scene: Scene, morph_names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return weights of morph targets by the name of the pose.

    Animations with more keys or with bones are none, nor are those expressions that only show one morph target.
    """
    poses = {}
    for number, animation in enumerate(scene.document.get("animations", [])):
        if _is_pose(scene, animation):
            poses[animation.get("name", f"pose{number}")] = _weights_of_keys(scene, animation)
    single = {perfect_sync(name) for name in morph_names if name}
    extension = scene.document.get("extensions", {}).get("VRMC_vrm", {})
    for name, expression in extension.get("expressions", {}).get("custom", {}).items():
        if name not in single:
            poses[name] = _weights_of_binds(scene, expression)
    return poses


def target_names(mesh: Mapping[str, Any], count: int) -> list[str]:
    """Return the names of a mesh's morph targets, invented ones where the file has none."""
    return mesh.get("extras", {}).get("targetNames", [f"target{k}" for k in range(count)])


def _is_pose(scene: Scene, animation: Mapping[str, Any]) -> bool:
    keys = [scene.document["accessors"][sampler["input"]]["count"] for sampler in animation["samplers"]]
    targets = [channel["target"] for channel in animation["channels"]]
    return set(keys) == {1} and all(target["path"] == "weights" and "node" in target for target in targets)


def _weights_of_keys(scene: Scene, animation: Mapping[str, Any]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for channel in animation["channels"]:
        values = scene.accessor(animation["samplers"][channel["sampler"]]["output"])[:, 0]
        weights |= _active(zip(_names_of_node(scene, channel["target"]["node"]), values.tolist(), strict=True))
    return weights


def _weights_of_binds(scene: Scene, expression: Mapping[str, Any]) -> dict[str, float]:
    binds = expression.get("morphTargetBinds", [])
    return _active((_names_of_node(scene, bind["node"])[bind["index"]], float(bind["weight"])) for bind in binds)


def _active(weights: Iterable[tuple[str, float]]) -> dict[str, float]:
    return {name: min(weight, 1.0) for name, weight in weights if weight > 0}


def _names_of_node(scene: Scene, node: int) -> list[str]:
    mesh = scene.document["meshes"][scene.document["nodes"][node]["mesh"]]
    return target_names(mesh, len(mesh["primitives"][0].get("targets", [])))
