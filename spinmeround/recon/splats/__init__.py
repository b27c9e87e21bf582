"""Gaussian splats fitted to posed views by gradient descent."""
