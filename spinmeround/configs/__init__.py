"""Presets and the registry of model files, as data."""
