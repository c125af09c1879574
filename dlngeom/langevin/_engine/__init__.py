"""Runs of random walks: groups of chains, steps, random streams, pools, checkpoints."""
