"""Cameras of a capture: checked, normalised, and corrected by silhouettes or colours."""
