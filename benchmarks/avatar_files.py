"""Checks of avatars: face budgets, validity of their files in strict readers, motion of each action.

    python benchmarks/avatar_files.py

The avatars are those of the mean head and two random heads of the model, with a photo as the skin's texture, so that
the JPEG has a usual size. The Khronos validator reads the .glb of each level, three-vrm the .vrm; both come from npm
and are skipped without it.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from command_line import benchmark_parser, run
from jaxtyping import Float
from measures import MILLIMETRES_PER_UNIT
from npm import install
from tables import Figure

from spinmeround.io import write_avatar
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES
from spinmeround.template.avatar.build import MAX_FACES, AvatarDetail, build_avatar
from spinmeround.template.avatar.skeleton import eyeball
from spinmeround.template.model.expression_transfer import personal_morphs
from spinmeround.template.model.head_model import PARTS, HeadModel, load_head_model
from spinmeround.template.texture.bake import SkinTexture
from spinmeround.types import Avatar

_PACKAGES = ("gltf-validator@2.0.0-dev.3.10", "three@0.170.0", "@pixiv/three-vrm@3.3.3")
_TEXTURE_PX = 2048
_VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[2])))
  .then(r => console.log(JSON.stringify([r.issues.numErrors, r.issues.numWarnings])));
"""
_LOAD_VRM = """
import fs from 'fs';
import { GLTFLoader } from 'three/examples/jsm/loaders/GLTFLoader.js';
import { VRMLoaderPlugin } from '@pixiv/three-vrm';
globalThis.self = globalThis;
globalThis.createImageBitmap = async () => ({ width: 1, height: 1, close() {} });
globalThis.ProgressEvent ??= class extends Event {};
const loader = new GLTFLoader();
loader.register(parser => new VRMLoaderPlugin(parser));
const bytes = new Uint8Array(fs.readFileSync(process.argv[2]));
const { vrm } = (await loader.parseAsync(bytes.buffer, '')).userData;
const bound = e => (e._binds ?? e.binds).length > 0;
const loose = vrm.expressionManager.expressions.filter(e => e.expressionName !== 'neutral' && !bound(e)).length;
vrm.lookAt.yaw = 30; vrm.update(0.01); vrm.lookAt.yaw = 30; vrm.update(0.01);
const eyes = ['leftEye', 'rightEye'].map(n => vrm.humanoid.getNormalizedBoneNode(n).quaternion.w);
console.log(JSON.stringify([loose, ...eyes.map(w => 2 * Math.acos(Math.min(1, Math.abs(w))))]));
"""


def measure(*, quick: bool) -> list[Figure]:
    """Measure budgets, validity and motion; without the two random heads if quick."""
    model = load_head_model()
    people = [_person(model, number) for number in range(1 if quick else 3)]
    avatars = {lod: _avatar(model, people[-1], lod) for lod in (0, 1, 2)}
    figures = [_worst_budget(avatars)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for lod, avatar in avatars.items():
            write_avatar(folder / f"{lod}.glb", avatar)
        write_avatar(folder / "me.vrm", avatars[1])
        size = (folder / "1.glb").stat().st_size / 1e6
        figures.append(Figure("avatar, .glb of level 1", size, 8.0, unit=" MB", note=f"textures of {_TEXTURE_PX}"))
        try:
            install(folder, *_PACKAGES)
        except FileNotFoundError as missing:
            print(f"skipped validation and three-vrm: {missing}")
        else:
            figures += _reader_figures(folder)
    return [*figures, *_motion(model, people)]


def _person(model: HeadModel, number: int) -> Float[np.ndarray, "v 3"]:
    """Return the vertices of a random head; number 0 is the mean head."""
    count = len(model.shape_names)
    spread = np.where(np.arange(count) < 20, 0.8, 0.1) * (number > 0)
    return model.vertices(spread * np.random.default_rng(number).normal(size=count))


def _avatar(model: HeadModel, neutral: Float[np.ndarray, "v 3"], lod) -> Avatar:
    photo = cv2.resize(skimage.data.astronaut(), (_TEXTURE_PX, _TEXTURE_PX), interpolation=cv2.INTER_CUBIC)
    skin = SkinTexture(np.asarray(photo, np.float32) / 255, np.ones(photo.shape[:2], np.float32))
    uncovered = np.zeros(model.subdivision.shape[0])
    return build_avatar(model, neutral, uncovered, skin, (), AvatarDetail(lod, _TEXTURE_PX))


def _worst_budget(avatars: dict[int, Avatar]) -> Figure:
    counts = {lod: sum(len(part.mesh.faces) for part in avatar.parts) for lod, avatar in avatars.items()}
    off = max(abs(count / MAX_FACES[lod] - 1) for lod, count in counts.items())
    note = "; ".join(f"{count} of {MAX_FACES[lod]}" for lod, count in counts.items())
    return Figure("avatar, faces off a level's target", 100 * off, 2.0, unit=" %", note=note)


def _reader_figures(folder: Path) -> Iterator[Figure]:
    (folder / "validate.cjs").write_text(_VALIDATE, encoding="utf-8")
    (folder / "vrm.mjs").write_text(_LOAD_VRM, encoding="utf-8")
    issues = np.sum([_script_output(folder, "validate.cjs", f"{lod}.glb") for lod in (0, 1, 2)], axis=0)
    yield Figure("avatar, errors of the Khronos validator", float(issues[0]), 0)
    yield Figure("avatar, warnings of the Khronos validator", float(issues[1]), 0)
    loose, *turned_rad = _script_output(folder, "vrm.mjs", "me.vrm")
    yield Figure("three-vrm, expressions that bind nothing", loose, 0)
    yield Figure("three-vrm, eyes turned by look-at", np.degrees(min(turned_rad)), 5, at_most=False, unit=" deg")


def _script_output(folder: Path, script: str, *given: str) -> list[float]:
    done = subprocess.run(["node", script, *given], cwd=folder, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _motion(model: HeadModel, people: list[Float[np.ndarray, "v 3"]]) -> list[Figure]:
    """Return the largest errors of motion over all actions and people."""
    across = model.dense(model.mean)[:, 0]
    scalp = (model.masks["scalp"] > 0.99) & (model.dense(model.mean)[:, 1] > 0.1)
    on_scalp, off_centre, sided = [], [], []
    for neutral in people:
        rest, morphs = model.dense(neutral), personal_morphs(model, neutral)
        on_scalp.append(np.abs(morphs[:, scalp]).max() * MILLIMETRES_PER_UNIT)
        for name, moved in zip(BLENDSHAPE_NAMES, morphs, strict=True):
            sign = {"L": 1, "R": -1}[name[-5 if name.endswith("Right") else -4]] if _has_side(name) else 0
            if sign:
                length = np.linalg.norm(moved, axis=1)
                sided.append(length[sign * across > 0.03].max() / max(length[sign * across < -0.03].max(), 1e-9))
            if name.startswith("eyeLook"):
                side = "eye_left" if name.endswith("Left") else "eye_right"
                ball = np.unique(model.dense_faces[model.dense_part == PARTS.index(side)])
                centre, _ = eyeball(model, neutral, side)
                apart = (np.linalg.norm(at[ball] - centre, axis=1) for at in (rest, rest + moved))
                off_centre.append(np.abs(next(apart) - next(apart)).max() * MILLIMETRES_PER_UNIT)
    return [
        Figure(
            "motion of the scalp by any action, largest", max(on_scalp), 0.1, unit=" mm", note=f"{len(people)} people"
        ),
        Figure("deviation of eyes from rotation about their centres, largest", max(off_centre), 0.05, unit=" mm"),
        Figure(
            "one-sided actions: motion of their side relative to the other, least",
            min(sided),
            1.5,
            at_most=False,
            unit="x",
        ),
    ]


def _has_side(name: str) -> bool:
    """Check whether an action belongs to a left-right pair; jawLeft, mouthRight and the like move the whole part."""
    return name.endswith(("Left", "Right")) and name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight")


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__), title="avatars' files")


if __name__ == "__main__":
    main()
