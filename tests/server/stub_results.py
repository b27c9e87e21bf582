"""What the stand-in for the long work says of every head."""

STAGES = ("photo", "portrait", "head", "views", "splats", "avatar", "files", "preview")
QUALITY = {"verdict": "fair", "reasons": ["the photo is blurred"], "size": 0.5, "matte": None}
CAMERA = {
    "width_px": 96,
    "height_px": 64,
    "intrinsics_px": [[100.0, 0.0, 48.0], [0.0, 100.0, 32.0], [0.0, 0.0, 1.0]],
    "camera_from_world": [[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 1], [0, 0, 0, 1]],
}
