"""Quotients of geomstats as spaces to sample in; needs the numpy backend of geomstats."""

from dlngeom.geomstats.bundles import from_bundle

__all__ = ["from_bundle"]
