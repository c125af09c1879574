"""Ordinary differential equations whose state is a tuple of arrays, on the solvers of scipy."""
