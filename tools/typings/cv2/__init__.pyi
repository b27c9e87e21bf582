"""OpenCV's own generated types refuse calls its manual shows (a None map, masks): cv2 is untyped here."""

from typing import Any

def __getattr__(name: str) -> Any: ...
