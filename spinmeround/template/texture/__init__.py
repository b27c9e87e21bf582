"""The skin texture of a fitted head."""
