"""Mesh formats other than glTF and USD."""
