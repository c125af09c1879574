"""One good call of every public function, for tests that walk over all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlngeom import (
    SVD,
    DeepLinearNetwork,
    Frames,
    InfinitelyDeepNetwork,
    LowRank,
    balanced,
    endtoend,
    flow,
    geodesics,
    langevin,
    laws,
    network,
    points,
    spectral,
    submersion,
    thermodynamics,
)
from dlngeom.quotients import (
    BuresWasserstein,
    ComplexProjective,
    FixedRank,
    Flags,
    Grassmann,
    HermitianSpectrum,
    KendallShapes,
    Sphere,
)
from dlngeom.thermodynamics import equilibrium, landscape

__all__ = ["public_calls"]

Call = tuple[Callable[..., Any], dict[str, Any]]


def public_calls() -> dict[str, Call]:
    """Name of a call to the function and its arguments, all good; made anew every time."""
    return (
        _points()
        | _network()
        | _balanced()
        | _end_to_end()
        | _thermodynamics()
        | _landscape()
        | _engines()
        | _spaces()
        | _laws()
    )


def _generator() -> np.random.Generator:
    return np.random.default_rng(7)


def _matrix(m: int = 3, n: int = 3) -> np.ndarray:
    return np.eye(m, n) + 0.2 * _generator().standard_normal((m, n))


def _other(m: int = 3, n: int = 3) -> np.ndarray:
    return np.eye(m, n) - 0.1 * np.random.default_rng(8).standard_normal((m, n))


def _svd() -> SVD:
    return points.svd(_matrix(3, 2), 2)


def _layers() -> tuple[np.ndarray, ...]:
    return points.factors(_frames())


def _frames() -> Frames:
    rng = _generator()
    q = tuple(np.linalg.qr(rng.standard_normal((d, 2)))[0] for d in (2, 3, 2))
    return Frames(np.array([1.2, 0.7]), q)


def _vectors(scale: float = 0.1) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(9)
    return tuple(scale * rng.standard_normal(W.shape) for W in _layers())


def _tangent() -> tuple[np.ndarray, ...]:
    return balanced.tangent_projection(_frames(), _vectors())


def _force(W: Any) -> Any:
    return W - np.eye(*W.shape[-2:])


def _half_square(W: Any) -> Any:
    return (W * W).sum(axis=(-2, -1)) / 2


def _points() -> dict[str, Call]:
    chart = points.polar_coordinates(_layers())
    left = points.left_polar_coordinates(_layers())
    return {
        "svd": (points.svd, {"W": _matrix(), "rank": None}),
        "dense": (points.dense, {"value": _svd()}),
        "dense of frames": (points.dense, {"value": _frames()}),
        "dense of a low-rank matrix": (
            points.dense,
            {"value": LowRank(np.eye(3, 2), np.eye(2), np.eye(4, 2))},
        ),
        "factors": (points.factors, {"point": _frames()}),
        "frames": (points.frames, {"factors": _layers(), "rank": None}),
        "nearest_balanced": (points.nearest_balanced, {"factors": _layers(), "rank": None}),
        "polar_chart": (
            points.polar_chart,
            dict(zip(("W_1", "turns", "invariants"), chart, strict=True)),
        ),
        "left_polar_chart": (
            points.left_polar_chart,
            dict(zip(("W_N", "turns", "invariants"), left, strict=True)),
        ),
        "polar_coordinates": (points.polar_coordinates, {"factors": _layers()}),
        "left_polar_coordinates": (points.left_polar_coordinates, {"factors": _layers()}),
        "weights": (
            spectral.weights,
            {"a": np.array([2.0, 1.0]), "b": np.array([1.0, 0.5]), "depth": 3},
        ),
    }


def _network() -> dict[str, Call]:
    return {
        "end_to_end": (network.end_to_end, {"point": _layers()}),
        "end_to_end of frames": (network.end_to_end, {"point": _frames()}),
        "invariants": (network.invariants, {"point": _layers()}),
        "singular_values": (network.singular_values, {"point": _layers()}),
        "singular_values of a matrix": (network.singular_values, {"point": _matrix()}),
        "effective_rank": (network.effective_rank, {"point": _matrix()}),
        "lifted_gradient": (
            network.lifted_gradient,
            {"factors": _layers(), "egrad": _matrix(2, 2)},
        ),
        "layers' differential": (
            network.differential,
            {"factors": _layers(), "vector": _vectors()},
        ),
    }


def _balanced() -> dict[str, Call]:
    at, X = _frames(), _vectors()
    V, normal = (
        _tangent(),
        tuple(x - t for x, t in zip(X, balanced.tangent_projection(at, X), strict=True)),
    )
    return {
        "tangent_projection": (balanced.tangent_projection, {"frames": at, "X": X}),
        "vertical_projection": (balanced.vertical_projection, {"frames": at, "X": X}),
        "horizontal_projection": (balanced.horizontal_projection, {"frames": at, "X": X}),
        "orthonormal_frame": (balanced.orthonormal_frame, {"frames": at}),
        "retraction upstairs": (balanced.retraction, {"frames": at, "V": V, "order": 2}),
        "weingarten": (balanced.weingarten, {"frames": at, "V": V, "normal": normal}),
        "second_fundamental_form": (
            balanced.second_fundamental_form,
            {"frames": at, "X": V, "Y": V},
        ),
        "integrability_tensor": (
            balanced.integrability_tensor,
            {"frames": at, "X": balanced.horizontal_projection(at, X), "Y": V},
        ),
        "curvature upstairs": (balanced.curvature, {"frames": at, "X": V, "Y": X, "Z": V}),
        "dimension": (balanced.dimension, {"widths": (2, 3, 2), "rank": 2}),
    }


def _end_to_end() -> dict[str, Call]:
    W, Z, Y = _matrix(), _matrix() - 1, _other()
    numbers = {"depth": 3}
    calls = {
        "cometric": (endtoend.cometric, {"W": W, "Z": Z}),
        "inverse_cometric": (endtoend.inverse_cometric, {"W": W, "Z": Z}),
        "inner": (endtoend.inner, {"W": W, "Z1": Z, "Z2": Y}),
        "gradient": (endtoend.gradient, {"W": W, "egrad": Z}),
        "hessian": (endtoend.hessian, {"W": W, "egrad": Z, "ehess": Y, "Z": Y}),
        "retraction": (endtoend.retraction, {"W": W, "Z": 0.1 * Z, "order": 2}),
        "transport": (endtoend.transport, {"W": W, "other": Y, "Z": Z}),
        "log_volume_density": (endtoend.log_volume_density, {"W": W}),
        "christoffel": (endtoend.christoffel, {"W": W, "X": Z, "Y": Y}),
        "curvature": (endtoend.curvature, {"W": W, "X": Z, "Y": Y, "Z": Z}),
    }
    found = {name: (call, values | numbers) for name, (call, values) in calls.items()}
    found["projection_retraction"] = (endtoend.projection_retraction, {"W": W, "Z": Z})
    found["cometric of an SVD"] = (endtoend.cometric, {"W": _svd(), "Z": _matrix(3, 2), "depth": 2})
    found["retraction of an SVD"] = (
        endtoend.retraction,
        {"W": _svd(), "Z": endtoend.cometric(_svd(), _matrix(3, 2), 2), "depth": 2, "order": 2},
    )
    return found


def _thermodynamics() -> dict[str, Call]:
    W, Z, s = _matrix(), _other(), np.array([2.0, 1.0, 0.3])
    at = {"W": W, "widths": (3, 3, 3)}
    return {
        "entropy": (thermodynamics.entropy, at),
        "entropy_egrad": (thermodynamics.entropy_egrad, at),
        "entropy_gradient": (thermodynamics.entropy_gradient, at),
        "entropy_ehess": (thermodynamics.entropy_ehess, at | {"Z": Z}),
        "entropy_of_singular_values": (
            thermodynamics.entropy_of_singular_values,
            {"s": s, "widths": (3, 3, 3), "rank": 3},
        ),
        "free_energy": (thermodynamics.free_energy, at | {"energy": 1.5, "beta": 2.0}),
        "free_energy_gradient": (
            thermodynamics.free_energy_gradient,
            at | {"egrad": Z, "beta": 2.0},
        ),
        "free_energy_hessian": (
            thermodynamics.free_energy_hessian,
            at | {"egrad": Z, "ehess": Z, "Z": Z, "beta": 2.0},
        ),
        "log_gibbs_density": (
            thermodynamics.log_gibbs_density,
            {"X": W, "energy": _half_square, "widths": (3, 3, 3), "beta": 2.0, "kappa": 0.5},
        ),
        "from_root": (thermodynamics.from_root, {"X": W, "depth": 2}),
        "to_root": (thermodynamics.to_root, {"W": W, "depth": 2}),
        "log_network_density": (thermodynamics.log_network_density, {"s": s, "widths": (3, 3, 3)}),
        "log_singular_value_density": (
            thermodynamics.log_singular_value_density,
            {"s": s, "shape": (3, 3), "depth": 2},
        ),
        "log_svd_density": (
            thermodynamics.log_svd_density,
            {"s": s, "shape": (3, 3), "depth": 2},
        ),
        "log_density": (
            equilibrium.log_density,
            {"lam": s, "depth": 2, "beta": 2.0, "kappa": 1.0},
        ),
        "log_density_gradient": (
            equilibrium.log_density_gradient,
            {"lam": s, "depth": 2, "beta": 2.0, "kappa": 1.0},
        ),
        "hard_edge_exponent": (equilibrium.hard_edge_exponent, {"depth": 2, "kappa": 1.0}),
        "mean_virial": (
            equilibrium.mean_virial,
            {"d": 3, "depth": 2, "beta": 2.0, "kappa": 1.0},
        ),
        "log gas": (
            equilibrium.sample,
            {"d": 3, "depth": 2, "beta": 2.0, "n_chains": 2, "n_draws": 3, "n_warm": 2, "rng": 0},
        ),
    }


def _landscape() -> dict[str, Call]:
    given = {
        "energy": lambda W: 0.5 * np.sum((W - np.diag([2.0, 1.0])) ** 2, axis=(-2, -1)),
        "gradient": lambda W: W - np.diag([2.0, 1.0]),
        "hessian": lambda W, Z: Z,
        "widths": (2, 2, 2),
        "beta": 10.0,
        "starts": np.diag([1.5, 0.8])[None],
        "max_iterations": 50,
    }
    return {
        "local_minima": (landscape.local_minima, given),
        "critical_points": (landscape.critical_points, given),
    }


def _engines() -> dict[str, Call]:
    space, W, X = DeepLinearNetwork((2, 2, 2)), _matrix(2, 2), _other(2, 2)
    noise = {"duration": 0.01, "n_steps": 2, "rng": 0, "n_chains": 2, "save_every": 1}
    at = {"space": space, "point": W}
    curve = np.stack([W, (W + X) / 2, X])
    return {
        "gradient_flow": (
            flow.gradient_flow,
            at
            | {"energy_gradient": _force, "t": np.array([0.0, 0.5]), "rtol": 1e-5}
            | {"max_evaluations": 3000},
        ),
        "network_flow": (
            flow.network_flow,
            {"factors": _layers(), "energy_gradient": _force, "t": [0.0, 0.5], "rtol": 1e-5}
            | {"max_evaluations": 3000},
        ),
        "exp": (geodesics.exp, at | {"tangent": 0.1 * X}),
        "geodesic": (geodesics.geodesic, at | {"tangent": 0.1 * X, "t": 0.5}),
        "log": (geodesics.log, at | {"other": X}),
        "dist": (geodesics.dist, {"space": space, "a": W, "b": X}),
        "parallel_transport": (
            geodesics.parallel_transport,
            at | {"tangent": X, "direction": 0.1 * X},
        ),
        "length": (geodesics.length, {"space": space, "curve": curve}),
        "energy of a curve": (
            geodesics.energy,
            {"space": space, "curve": curve, "t": [0.0, 1.0, 2.0]},
        ),
        "brownian_motion": (langevin.brownian_motion, at | noise | {"beta": 2.0}),
        "riemannian_langevin": (
            langevin.riemannian_langevin,
            {"space": space, "point": _frames_of(space), "energy_gradient": _force}
            | {"beta": 2.0, "kappa": 1.0}
            | noise,
        ),
        "network_langevin": (
            langevin.network_langevin,
            {"factors": _layers(), "energy_gradient": _force, "beta": 2.0, "kappa": 1.0} | noise,
        ),
        "step": (
            langevin.step,
            {
                "space": space,
                "point": _frames_of(space),
                "noise": tuple(np.zeros((2, 2)) for _ in range(2)),
                "duration": 0.01,
                "beta": 2.0,
                "kappa": 1.0,
            },
        ),
    }


def _frames_of(space: DeepLinearNetwork) -> Frames:
    return space.random_point(3)


def _spaces() -> dict[str, Call]:
    found: dict[str, Call] = {}
    spaces = {
        "network": DeepLinearNetwork((2, 2, 2)),
        "sphere": Sphere(3),
        "spectrum": HermitianSpectrum(3),
        "Bures-Wasserstein": BuresWasserstein(3, 2),
        "Grassmann": Grassmann(4, 2),
        "projective": ComplexProjective(2),
        "flags": Flags(4, (1, 2)),
        "fixed rank": FixedRank(3, 2, 2),
        "shapes": KendallShapes(4, 3),
    }
    for name, space in spaces.items():
        point = space.random_point(1)
        below = space.project(point)
        covector = below * 0.5 if not isinstance(below, tuple) else below
        found |= {
            f"submersion.cometric, {name}": (
                submersion.cometric,
                {"space": space, "point": point, "covector": covector},
            ),
            f"submersion.gradient, {name}": (
                submersion.gradient,
                {"space": space, "point": point, "egrad": covector},
            ),
            f"submersion.mean_curvature, {name}": (
                submersion.mean_curvature,
                {"space": space, "point": point},
            ),
        }
    found["DeepLinearNetwork"] = (DeepLinearNetwork, {"widths": (2, 3, 2), "rank": 2})
    found["InfinitelyDeepNetwork"] = (InfinitelyDeepNetwork, {"width": 2})
    found["Sphere"] = (Sphere, {"dimension": 3})
    found["Grassmann"] = (Grassmann, {"n": 4, "rank": 2})
    found["HermitianSpectrum"] = (HermitianSpectrum, {"n": 3})
    found["ComplexProjective"] = (ComplexProjective, {"n": 2})
    found["Flags"] = (Flags, {"n": 3, "sizes": (1, 2)})
    found["FixedRank"] = (FixedRank, {"m": 3, "n": 2, "rank": 2})
    found["KendallShapes"] = (KendallShapes, {"landmarks": 4, "dimension": 3})
    found["BuresWasserstein"] = (BuresWasserstein, {"n": 3, "rank": 2})
    return found


def _laws() -> dict[str, Call]:
    time = {"time": 0.5, "beta": 2.0}
    draws = {"size": 5, "rng": 0}
    return {
        "radial_law": (laws.radial_law, {"s0": 1.0, "shape": (1, 1), "depth": 2} | time | draws),
        "radial_law_infinite_depth": (
            laws.radial_law_infinite_depth,
            {"s0": 1.0} | time | draws,
        ),
        "cone_law": (
            laws.cone_law,
            {"space": DeepLinearNetwork((1, 2, 1)), "r0_squared": 1.0, "kappa": 1.0} | time,
        ),
        "sphere_law": (
            laws.sphere_law,
            {"dimension": 3, "r0_squared": 1.0, "kappa": 1.0} | time,
        ),
        "dyson_law": (
            laws.dyson_law,
            {"x0": [1.0, 0.0, -1.0], "kappa": 1.0} | time | draws,
        ),
    }
