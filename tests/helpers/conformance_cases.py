"""The conformance tests of geomstats, with points near one another and on one component.

Every method of a test case of ``geomstats.test_cases`` that draws its own data runs once, for
three points; those that need ``expected`` values are what these call.  A method that
finds something not implemented fails, unless it is listed here with its reason; the page on
geomstats in the documentation shows the list.
"""

import inspect
import itertools
import random

import geomstats.backend as gs

ATOL = 1e-8
# Points are exp of tangent vectors of this length, over the clearance of the base point.
RADIUS = 0.25
VALUES = {"n_points": (3,), "n_reps": (2,), "n_times": (2,), "atol": (ATOL,)}

CURVED = "curvature is not differentiated"
EXCLUDED = {
    "curvature_derivative": CURVED,
    "directional_curvature_derivative": CURVED,
    "integrability_tensor_derivative": "the integrability tensor is not differentiated",
    "injectivity_radius": "known for one layer, and two on SPD matrices, only; tested there",
}
# Entries are coordinates of matrices at full rank only.
COORDINATES = (
    "metric_matrix", "cometric_matrix", "inner_product_derivative_matrix", "christoffels",
    "covariant_riemann_tensor", "riemann_tensor", "ricci_tensor", "scalar_curvature",
)  # fmt: skip
NOT_OPEN = dict.fromkeys(COORDINATES, "entries are coordinates at full rank only")


class Nearby:
    """Points within a radius of one base point, and vectors shorter than it."""

    def __init__(self, space, base_point, radius=RADIUS):
        self.space, self.base_point, self.radius = space, base_point, radius

    def random_point(self, n_points=1):
        batch = () if n_points == 1 else (n_points,)
        base = gs.broadcast_to(self.base_point, (*batch, *self.base_point.shape))
        return self.space.projection(self.space.metric.exp(self.random_tangent_vec(base), base))

    def random_tangent_vec(self, base_point):
        vector = self.space.to_tangent(gs.random.normal(size=tuple(base_point.shape)), base_point)
        # Inner products at the base point tell the length well enough.
        norm = gs.sqrt(gs.sum(vector**2, axis=tuple(range(-self.space.point_ndim, 0))))
        return vector * (self.radius / norm)[(..., *([None] * self.space.point_ndim))]

    def point_to_project(self, n_points=1):
        batch = () if n_points == 1 else (n_points,)
        return gs.random.normal(size=(*batch, *self.space.shape))


def calls(case, excluded):
    """Methods of a test case that draw their own data, with the arguments to call them by."""
    found = []
    for name, method in inspect.getmembers(case, inspect.isfunction):
        names = list(inspect.signature(method).parameters)[1:]
        chosen = name.startswith("test_") and names and set(names) <= VALUES.keys()
        if chosen and not any(name.startswith(f"test_{prefix}") for prefix in excluded):
            for values in itertools.product(*(VALUES[key] for key in names)):
                found.append((name, dict(zip(names, values, strict=True))))
    return found


def run(case, name, arguments, **attributes):
    """Call a method of a test case that has the given attributes, with the same draws always."""
    gs.random.seed(0)
    random.seed(0)
    instance = type(case.__name__, (case,), attributes)()
    instance.setup_method()
    getattr(instance, name)(**arguments)
