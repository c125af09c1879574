"""Shared foundations: arrays, checks, vectors, trajectories, differential equations."""
