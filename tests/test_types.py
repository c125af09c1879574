"""Calls as users write them, which mypy checks with the package: what it infers and refuses."""

from typing import assert_type

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import dlngeom
from dlngeom import SVD, Tangent, completion, endtoend, network, points
from dlngeom._lib.arrays import Array, NumpyArray, as_generator, inner, to_numpy


def refused() -> None:
    """Never called: mypy reports each line, and that no line is reported in vain."""
    to_numpy("two")  # type: ignore[arg-type]
    to_numpy([[1.0, 0.0], [0.0, 1.0]])  # type: ignore[arg-type]
    to_numpy(1.0)  # type: ignore[arg-type]
    network.end_to_end("two")  # type: ignore[arg-type]
    endtoend.gradient("two", np.eye(2), 3)  # type: ignore[call-overload]
    endtoend.gradient([[1.0]], np.eye(2), 3)  # type: ignore[call-overload]
    print(dlngeom.DLNCompletion)  # type: ignore[attr-defined]
    as_generator(1.5)  # type: ignore[arg-type]
    as_generator("one")  # type: ignore[arg-type]
    as_generator(np.random.RandomState(1))  # type: ignore[arg-type]


def test_arrays_of_every_library_and_dtype_are_arrays() -> None:
    assert to_numpy(np.eye(2, dtype=np.float32)).shape == (2, 2)
    assert to_numpy(np.eye(2) > 0).shape == (2, 2)
    assert to_numpy(torch.eye(2)).shape == (2, 2)
    assert to_numpy(jnp.eye(2)).shape == (2, 2)


def test_results_are_arrays_that_numpy_takes() -> None:
    x = inner(np.eye(2), np.eye(2))
    assert_type(x, Array)
    assert_type(2 * x, Array)
    assert np.sqrt(x) == pytest.approx(2**0.5)


def test_a_dense_point_gives_dense_vectors() -> None:
    W = np.eye(2)
    vector = dlngeom.endtoend.gradient(W, W, 3)
    assert_type(vector, Array)
    assert_type(endtoend.retraction(W, vector, 3), Array)


def test_an_svd_gives_vectors_in_its_frames() -> None:
    point = dlngeom.svd(np.eye(2))
    assert_type(point, SVD)
    vector = endtoend.gradient(point, np.eye(2), 3)
    assert_type(vector, Tangent)
    assert_type(endtoend.retraction(point, vector, 3), SVD)
    assert_type(points.dense((point, vector)), Array)


def test_names_that_load_on_first_use_have_types() -> None:
    model = dlngeom.completion.DLNCompletion(depth=3)
    assert_type(model, completion.DLNCompletion)
    values = np.random.default_rng(0).standard_normal((4, 3))
    assert_type(model.fit(values), completion.DLNCompletion)
    assert_type(model.transform(values), NumpyArray)


def test_seeds_are_what_makes_a_generator() -> None:
    for seed in (None, 1, np.int64(1), [1, 2], np.arange(2), np.random.SeedSequence(1)):
        assert isinstance(as_generator(seed), np.random.Generator)
    bits = np.random.PCG64(1)
    assert as_generator(np.random.Generator(bits)).bit_generator is bits
    assert as_generator(bits).bit_generator is bits
