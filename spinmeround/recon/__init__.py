"""Stage two: posed views to surface, splats and textured mesh."""
