"""Photo to Portrait: landmarks, matte, crop."""

from spinmeround.portrait.portrait import PortraitResult, make_portrait

__all__ = ["PortraitResult", "make_portrait"]
