"""Noise levels, solvers and passes that turn noise into views."""
