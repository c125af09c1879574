"""Ordinary differential equations whose state is a tuple of arrays, by the solvers of SciPy."""
