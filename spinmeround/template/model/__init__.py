"""The baked head model: shape, expressions, texture layout, neck."""
