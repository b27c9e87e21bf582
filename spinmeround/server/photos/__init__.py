"""Photos as they come in: what they are, whether they can be taken, and what of them is kept."""
