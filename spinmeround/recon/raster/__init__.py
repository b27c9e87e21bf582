"""Differentiable splat rasterisers: 3D Gaussians and surfels, on the CPU and on CUDA."""
