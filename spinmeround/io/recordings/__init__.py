"""Recorded faces: clips, and names of expressions."""
