"""One face photo in, a 3D head out."""
