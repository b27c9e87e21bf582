"""Splat formats."""
