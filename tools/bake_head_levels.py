"""Bake ``spinmeround/template/head_levels.npz``: the order of edge collapses that decimate the head's mesh.

    python tools/bake_head_levels.py

Half-edge collapses by quadric error (Garland and Heckbert 1997), summed over the mean head at rest and in strong
expressions, so that lids and lips keep the vertices they need to deform. A vertex always collapses onto another one, so
attributes per vertex or texture coordinate stay exact, for every person and at any number of faces (Hoppe 1996).
"""

from __future__ import annotations

import heapq
from pathlib import Path

import numpy as np

from spinmeround.template.model.head_model import PARTS, HeadModel, load_head_model

TARGET = Path(__file__).resolve().parent.parent / "spinmeround" / "template" / "head_levels.npz"
_POSES = (
    {},
    {"jawOpen": 1.0},
    {"eyeBlinkLeft": 0.8, "eyeBlinkRight": 0.8, "mouthPucker": 1.0},
    {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "browInnerUp": 1.0},
)
_PART_WEIGHT = {
    "skin": 1.0, "eye_left": 0.5, "eye_right": 0.5, "teeth_upper": 0.2, "teeth_lower": 0.2, "tongue": 0.2,
    "mouth_cavity": 0.05,
}  # fmt: skip
_MASK_WEIGHT = {"lids": 12.0, "lips": 8.0, "face": 3.0, "nostrils": 2.0, "neck": 0.5, "scalp": 0.4}
_MIN_FACES = 1500
"""Faces at which decimation stops."""


class Collapser:
    """The mesh during decimation."""

    def __init__(self, model: HeadModel) -> None:
        weight = np.ones(model.subdivision.shape[0])
        for name, factor in _MASK_WEIGHT.items():
            weight *= factor ** model.masks[name]
        self.faces = {i: tuple(f) for i, f in enumerate(model.dense_faces.tolist())}
        self.wedges = {i: tuple(f) for i, f in enumerate(model.uv_faces.tolist())}
        self.uv = model.uv.astype(float).tolist()
        mean_shape = np.zeros(len(model.shape_names))
        names = list(model.expression_names)
        poses = [
            model.dense(model.vertices(mean_shape, np.array([pose.get(n, 0.0) for n in names]))).astype(float)
            for pose in _POSES
        ]
        self.points = np.stack(poses, axis=1)
        part = np.array([_PART_WEIGHT[PARTS[p]] for p in model.dense_part])
        self.quadrics = np.zeros((len(self.points), len(poses), 4, 4))
        corners = self.points[model.dense_faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(normals, axis=2, keepdims=True)
        planes = normals / np.maximum(area, 1e-12)
        planes = np.concatenate([planes, -(planes * corners[:, 0]).sum(2, keepdims=True)], axis=2)
        quadrics = planes[..., :, None] * planes[..., None, :] * (area * part[:, None, None])[..., None]
        for k in range(3):
            np.add.at(
                self.quadrics, model.dense_faces[:, k], quadrics * weight[model.dense_faces[:, k], None, None, None]
            )
        self.weight = weight
        self.around: list[set[int]] = [set() for _ in self.points]
        for index, face in self.faces.items():
            for vertex in face:
                self.around[vertex].add(index)
        self.version = [0] * len(self.points)

    def neighbours(self, vertex: int) -> set[int]:
        """Return the vertices that share a face with this one."""
        return {v for f in self.around[vertex] for v in self.faces[f]} - {vertex}

    def cost(self, gone: int, kept: int) -> float:
        """Return the quadric error summed over the poses, plus a small term that prefers short edges."""
        places = np.concatenate([self.points[kept], np.ones((len(_POSES), 1))], axis=1)
        error = np.einsum("pi,pij,pj->", places, self.quadrics[gone] + self.quadrics[kept], places)
        length = self.points[gone, 0] - self.points[kept, 0]
        return float(error + 1e-6 * self.weight[gone] * (length @ length))

    def merged(self, gone: int, kept: int) -> dict[int, int] | None:
        """Return the new texture coordinates of the vertex, None if the collapse would tear, fold or invert faces."""
        shared = self.around[gone] & self.around[kept]
        if len(shared) != 2 or len(self.neighbours(gone) & self.neighbours(kept)) != 2:
            return None
        target: dict[int, int] = {}
        for index in shared:
            face, wedge = self.faces[index], self.wedges[index]
            source, sink = wedge[face.index(gone)], wedge[face.index(kept)]
            if target.setdefault(source, sink) != sink:
                return None
        for index in self.around[gone] - shared:
            face, wedge = self.faces[index], self.wedges[index]
            at = face.index(gone)
            if wedge[at] not in target:
                return None
            b, c = face[at - 2], face[at - 1]
            for pose in (0, 1):
                a, p, q, n = (self.points[v, pose] for v in (gone, b, c, kept))
                before, after = np.cross(p - a, q - a), np.cross(p - n, q - n)
                if before @ after < 0.2 * np.linalg.norm(before) * np.linalg.norm(after):
                    return None
            if self.turned([self.uv[w] for w in (target[wedge[at]], wedge[at - 2], wedge[at - 1])]):
                return None
        return target

    @staticmethod
    def turned(corners: list[list[float]]) -> bool:
        """Check whether a face would be inverted or degenerate in the texture."""
        (ax, ay), (bx, by), (cx, cy) = corners
        return (bx - ax) * (cy - ay) - (cx - ax) * (by - ay) <= 1e-10

    def collapse(self, gone: int, kept: int, target: dict[int, int]) -> None:
        """Collapse one vertex onto another."""
        for index in list(self.around[gone]):
            face, wedge = self.faces[index], self.wedges[index]
            if kept in face:
                for vertex in face:
                    self.around[vertex].discard(index)
                del self.faces[index], self.wedges[index]
                continue
            self.faces[index] = tuple(kept if v == gone else v for v in face)
            self.wedges[index] = tuple(target.get(w, w) if v == gone else w for v, w in zip(face, wedge, strict=True))
            self.around[kept].add(index)
        self.around[gone] = set()
        self.quadrics[kept] += self.quadrics[gone]


def bake(model: HeadModel) -> tuple[np.ndarray, np.ndarray]:
    """Return for each texture coordinate the step at which it merges into another (-1: never), and which."""
    mesh = Collapser(model)
    step_of, target_of = np.full(len(model.uv), -1), np.arange(len(model.uv))
    heap: list[tuple[float, int, int, int]] = []

    def push(vertex: int) -> None:
        options = [(mesh.cost(vertex, other), other) for other in sorted(mesh.neighbours(vertex))]
        if options:
            # The best few, since the best may be rejected.
            for cost, other in sorted(options)[:3]:
                heapq.heappush(heap, (cost, vertex, other, mesh.version[vertex]))

    for vertex in range(len(mesh.points)):
        push(vertex)
    step = 0
    while heap and len(mesh.faces) > _MIN_FACES:
        _, gone, kept, version = heapq.heappop(heap)
        if version != mesh.version[gone] or not mesh.around[gone] or not mesh.around[kept]:
            continue
        target = mesh.merged(gone, kept)
        if target is None:
            continue
        touched = mesh.neighbours(gone)
        mesh.collapse(gone, kept, target)
        for source, sink in target.items():
            step_of[source], target_of[source] = step, sink
        step += 1
        mesh.version[gone] += 1
        for vertex in touched:
            mesh.version[vertex] += 1
            push(vertex)
    print(f"{step} steps, {len(mesh.faces)} faces left")
    return step_of, target_of


def main() -> None:
    """Bake and write."""
    step, target = bake(load_head_model())
    np.savez_compressed(TARGET, step=step.astype(np.int32), target=target.astype(np.int32))
    print(f"{TARGET.name}: {TARGET.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
