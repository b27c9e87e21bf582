"""A triangle mesh fitted to posed normals and masks."""
