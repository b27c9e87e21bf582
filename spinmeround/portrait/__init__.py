"""Photo to portrait: landmarks, pose, crop, matte, segmentation."""

from spinmeround.portrait.portrait import PortraitResult, make_portrait

__all__ = ["PortraitResult", "make_portrait"]
