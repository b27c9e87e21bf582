"""Folders of posed views: nerfstudio, instant-ngp, COLMAP."""
