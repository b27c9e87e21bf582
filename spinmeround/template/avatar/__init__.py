"""A fitted head as an avatar: parts, skeleton, morph targets, levels of detail."""
