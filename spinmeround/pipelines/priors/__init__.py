"""The built-in priors: the template, and the diffusion model."""
