"""The process that looks at photos and frames with the package's own networks, warm from the start."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from spinmeround.errors import InputError, SpinMeRoundError, is_out_of_memory
from spinmeround.images import to_float, to_uint8
from spinmeround.io.photo import read_photo
from spinmeround.server.workers.lines import Lines

if TYPE_CHECKING:
    from spinmeround.io.photo import Photo

log = logging.getLogger(__name__)

_FRAME_PX = 480
"""Longest side at which the face of a frame is looked for: it fills much of it, and is found in time."""
_MOST_FRAME_PIXELS = 16_000_000
_SHOWN_PX = 2048
_JPEG_QUALITY = 92


def main() -> int:
    """Answer until the server is gone."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    lines = Lines()
    _warm_up()
    while (asked := lines.hear()) is not None:
        payload = lines.hear_bytes(asked.get("bytes", 0))
        try:
            lines.say(answer=_answer(asked, payload))
        except SpinMeRoundError as error:
            lines.say(kind=type(error).__name__, message=_sentence(error, asked))
        except Exception as error:
            if not is_out_of_memory(error):
                log.error("a photo could not be looked at\n%s", traceback.format_exc())
            lines.say(kind="InputError", message="the photo cannot be read; export it as JPEG or PNG")
    return 0


def _warm_up() -> None:
    """Load the networks; a machine without them says so when they are asked for."""
    try:
        _expressions(np.zeros((64, 64, 3), np.float32))
    except SpinMeRoundError as error:
        log.warning("%s", error)


def _answer(asked: dict[str, Any], payload: bytes) -> Any:
    if asked["do"] == "expressions":
        return expressions(payload)
    photo = Path(asked["photo"])
    # OpenCV reads it as it is first asked to decode.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(asked["pixels"]))
    check_pixels(photo, most=asked["pixels"])
    match asked["do"]:
        case "faces":
            return faces(read_photo(photo))
        case "store":
            return store(read_photo(photo), Path(asked["target"]))
        case "show":
            return show(read_photo(photo), Path(asked["target"]))
    raise ValueError(asked["do"])


def _sentence(error: SpinMeRoundError, asked: dict[str, Any]) -> str:
    return " ".join(str(error).replace(asked.get("photo", "\0"), asked.get("called", "the photo")).split())


def check_pixels(photo: Path, *, most: int) -> None:
    """Check the size of a photo by its header; what Pillow cannot open is left to the reader of photos.

    Raises:
        InputError: too many pixels.
    """
    try:
        with Image.open(photo) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        width, height = most, most
    except Exception:  # Pillow raises a dozen kinds over what is damaged; the reader of photos says it in a sentence
        return
    if width * height > most:
        raise InputError(f"{photo} has more than {most:,} pixels; shrink it first")


def faces(photo: Photo) -> dict[str, Any]:
    """Return the size of an upright photo and its faces, largest first."""
    from spinmeround.portrait.landmarks import find_faces

    height, width = photo.rgb.shape[:2]
    found = []
    for number, mesh in enumerate(find_faces(photo.rgb), start=1):
        left, top, right, bottom = mesh.box_px.tolist()
        found.append({"face": number, "box_px": [left, top, right - left, bottom - top]})
    return {"width": width, "height": height, "faces": found}


def expressions(frame: bytes) -> dict[str, Any]:
    """Return the expression of the largest face of a JPEG or PNG, upright as it is stored.

    Raises:
        InputError: it is damaged, or too large.
    """
    try:
        image = Image.open(io.BytesIO(frame), formats=["JPEG", "PNG"])
        if image.width * image.height > _MOST_FRAME_PIXELS:
            raise InputError(f"the frame has more than {_MOST_FRAME_PIXELS:,} pixels; send a smaller one")
        image.draft("RGB", (_FRAME_PX, _FRAME_PX))
        image.thumbnail((_FRAME_PX, _FRAME_PX), Image.Resampling.BOX)
        rgb = np.asarray(image.convert("RGB"), np.float32) / 255
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError("the frame is no JPEG or PNG, or damaged") from error
    return _expressions(rgb)


def _expressions(rgb: np.ndarray) -> dict[str, Any]:
    from spinmeround.portrait.detection import detect
    from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES, fit_mesh
    from spinmeround.portrait.pose import fit_head

    for box in sorted(detect(rgb), key=lambda box: -box.side_px):
        if (mesh := fit_mesh(rgb, box)) is not None:
            scores = {n: round(float(v), 4) for n, v in zip(BLENDSHAPE_NAMES, mesh.blendshapes, strict=True)}
            yaw, pitch, roll = np.round(fit_head(mesh).angles_deg, 2).tolist()
            return {"face": True, "expressions": scores, "head_rotation_deg": [pitch, yaw, roll]}
    return {"face": False, "expressions": {}, "head_rotation_deg": []}


def store(photo: Photo, target: Path) -> str:
    """Store what the reader of photos makes of a file, exactly: PNG for 8 bits, else TIFF; return the name.

    Args:
        target: without a suffix.
    """
    values = photo.rgb if photo.alpha is None else np.dstack([photo.rgb, photo.alpha])
    eight = to_uint8(values)
    if np.array_equal(to_float(eight), values):
        path = target.with_suffix(".png")
        Image.fromarray(eight).save(path, compress_level=1)
    else:
        path = target.with_suffix(".tiff")
        cv2.imwrite(str(path), values[..., [2, 1, 0, 3][: values.shape[2]]].astype(np.float32))
    return path.name


def show(photo: Photo, target: Path) -> str:
    """Draw an upright photo for a page, of bounded size and with nothing but its pixels.

    Args:
        target: becomes the picture when that is whole.
    """
    image = Image.fromarray(to_uint8(photo.rgb))
    image.thumbnail((_SHOWN_PX, _SHOWN_PX), Image.Resampling.LANCZOS)
    unfinished = target.with_name(f".{target.name}")
    image.save(unfinished, format="JPEG", quality=_JPEG_QUALITY)
    unfinished.replace(target)
    return target.name


if __name__ == "__main__":
    sys.exit(main())
