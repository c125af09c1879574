"""What every room stands on: arrays, checks, vectors, trajectories, differential equations."""
