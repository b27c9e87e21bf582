"""The template registered to a surface it did not make."""
