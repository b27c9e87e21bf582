"""The networks of the model: architecture, weights, placement, and what they are fed."""
