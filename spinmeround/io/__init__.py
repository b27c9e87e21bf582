"""Files: the only place where colour, frames and activations are converted."""
