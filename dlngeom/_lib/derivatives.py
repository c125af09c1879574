r"""Derivatives of torch and jax through functions that decompose a matrix.

The derivative of singular vectors divides by differences of singular values, although functions
that do not depend on the choice of vectors are smooth where singular values are equal.  There
such a function is differentiated at nearby matrices whose singular values are apart, and the
derivative is extrapolated to the matrix itself.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import array_api_compat
import numpy as np

from dlngeom._lib.arrays import Array, constant, namespace
from dlngeom._lib.vectors import parts, rebuild

__all__ = [
    "checked_by_value",
    "detached",
    "held",
    "is_differentiated",
    "is_traced",
    "may_be_differentiated",
    "require_separate",
    "rule_for",
    "smooth_in",
    "unless_zero",
    "with_gradients",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Step and number of matrices: truncation, about (step/2)^nodes, meets rounding, 2^nodes eps / step.
_DOUBLE, _SINGLE = (0.006, 6), (0.04, 4)


def _library(name: str) -> Any:
    """Load the library of an array at hand, which has been loaded already."""
    return importlib.import_module(name)


def is_differentiated(x: Any) -> bool:
    """Whether torch records or carries a derivative in ``x``."""
    if type(x) is np.ndarray or not array_api_compat.is_torch_array(x):
        return False
    torch = _library("torch")

    if x.requires_grad and torch.is_grad_enabled():
        return True
    carries: Any = torch.autograd.forward_ad.unpack_dual
    return carries(x).tangent is not None


def may_be_differentiated(x: Any) -> bool:
    """Whether torch records a derivative in ``x``, or jax may carry one."""
    return type(x) is not np.ndarray and (array_api_compat.is_jax_array(x) or is_differentiated(x))


def is_traced(*arrays: Any) -> bool:
    """Whether jax records what is done with an array, which need not have a value then."""
    found = [x for x in arrays if array_api_compat.is_jax_array(x)]
    return bool(found) and any(isinstance(x, _library("jax").core.Tracer) for x in found)


def checked_by_value(check: Callable[[Any], Any], point: Any) -> Any:
    """Check a point by its values alone; one that jax differentiates keeps its derivatives."""
    if not is_traced(*parts(point)):
        return check(point)
    fixed = check(rebuild(point, [held(x) for x in parts(point)]))
    if not isinstance(point, tuple) or type(fixed) is type(point):
        return point
    raise TypeError(
        "these layers become frames, which have no derivative where singular values are equal: "
        "differentiate from Frames, or with dlngeom.flow.network_flow"
    )


def detached(value: Any) -> Any:
    """Return a tensor of torch, or a tuple of them, without its graph of derivatives."""
    if isinstance(value, (tuple, list)):
        items = [detached(x) for x in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if type(value) is np.ndarray or not array_api_compat.is_torch_array(value):
        return value
    return value.detach()


def held(value: Any) -> Any:
    """Return arrays of torch and jax, or a tuple of them, as constants of differentiation."""
    if isinstance(value, (tuple, list)):
        items = [held(x) for x in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if type(value) is np.ndarray or not array_api_compat.is_jax_array(value):
        return detached(value)
    return _library("jax").lax.stop_gradient(value)


def rule_for(*arrays: Array) -> Any:
    """Return what calls a symmetric kernel with a derivative of its own; None for other libraries.

    It takes the kernel, its derivative in ``a``, and their arguments ``a, b, share, depth``.
    """
    if type(arrays[0]) is np.ndarray:
        return None
    if any(is_differentiated(x) for x in arrays):
        return _torch_rule
    return _jax_rule if array_api_compat.is_jax_array(arrays[0]) else None


def _torch_rule(kernel: Any, rate: Any, a: Any, b: Any, share: Any, depth: float) -> Any:
    torch = _library("torch")

    if depth > 1 and bool(((a == 0) | (b == 0)).any()):
        raise ValueError(
            f"a singular value is zero: the weights of depth {depth} have no derivative there; "
            "pass tensors without requires_grad"
        )
    spread: Any = torch.broadcast_tensors
    return _torch_function().apply(kernel, rate, *spread(a, b, share), depth)


@functools.cache
def _torch_function() -> Any:
    torch = _library("torch")

    class Kernel(torch.autograd.Function):  # type: ignore[misc,name-defined]
        """A symmetric kernel of two values, whose derivative is given."""

        generate_vmap_rule = True

        @staticmethod
        def forward(kernel: Any, _: Any, a: Any, b: Any, share: Any, depth: float) -> Any:
            return kernel(a, b, share, depth)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            _, ctx.rate, a, b, share, ctx.depth = inputs
            ctx.save_for_backward(a, b, share)

        @staticmethod
        def backward(ctx: Any, upstream: Any) -> Any:
            a, b, share = ctx.saved_tensors
            parts = [
                upstream * ctx.rate(x, y, share, ctx.depth) if needed else None
                for x, y, needed in zip((a, b), (b, a), ctx.needs_input_grad[2:4], strict=True)
            ]
            return None, None, *parts, None, None

    return Kernel


def _jax_rule(kernel: Any, rate: Any, a: Any, b: Any, share: Any, depth: float) -> Any:
    jax = _library("jax")

    def value(a: Any, b: Any) -> Any:
        return kernel(a, b, share, depth)

    rule = jax.custom_jvp(value)

    @rule.defjvp  # type: ignore[untyped-decorator]
    def _(primals: Any, tangents: Any) -> Any:
        x, y = primals
        moved = rate(x, y, share, depth) * tangents[0] + rate(y, x, share, depth) * tangents[1]
        return rule(x, y), moved

    return rule(a, b)


def with_gradients(value: Array, arrays: Sequence[Array], gradients: Sequence[Array]) -> Array:
    """Return a tensor of torch whose derivatives in ``arrays`` are given, and cannot be derived."""
    attached: Array = _attaching().apply(value, len(arrays), *arrays, *gradients)
    return attached


@functools.cache
def _attaching() -> Any:
    torch = _library("torch")

    class Attached(torch.autograd.Function):  # type: ignore[misc,name-defined]
        """A scalar field and its gradient, both known."""

        @staticmethod
        def forward(ctx: Any, value: Any, count: int, *tensors: Any) -> Any:
            ctx.save_for_backward(*tensors[count:])
            return value.clone()

        @staticmethod
        @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
        def backward(ctx: Any, upstream: Any) -> Any:
            gradients = ctx.saved_tensors
            scaled = [upstream[..., None, None] * x for x in gradients]
            return None, None, *scaled, *(None for _ in gradients)

    return Attached


def smooth_in(*names: str) -> Callable[[_Function], _Function]:
    """Decorate a function of dense matrices, smooth at equal singular values.

    Parameters
    ----------
    *names : str
        Parameters that are decomposed; the first ones of the function.  Tuples pass untouched.
    """

    def decorate(function: _Function) -> _Function:
        count = len(names)

        @functools.wraps(function)
        def entered(*args: Any, **kwargs: Any) -> Any:
            first = args[0] if args else kwargs.get(names[0])
            if type(first) is np.ndarray or isinstance(first, tuple):
                return function(*args, **kwargs)
            while len(args) < count and names[len(args)] in kwargs:
                args = (*args, kwargs.pop(names[len(args)]))
            matrices, rest = args[:count], args[count:]
            if all(array_api_compat.is_torch_array(x) for x in matrices):
                return _torch(function, matrices, rest, kwargs)
            if all(array_api_compat.is_jax_array(x) for x in matrices):
                return _jax(function, matrices, rest, kwargs)
            return function(*args, **kwargs)

        return entered  # type: ignore[return-value]

    return decorate


def _torch(function: Any, matrices: Any, rest: Any, kwargs: Any) -> Any:
    if not any(is_differentiated(x) for x in matrices):
        return function(*matrices, *rest, **kwargs)
    torch = _library("torch")

    linear = _is_of_depth_one(function, matrices + rest, kwargs)
    with torch.no_grad():
        fixed = tuple(detached(x) if linear else unless_zero(x) for x in matrices)
    value = function(*fixed, *(detached(x) for x in rest), **_held(kwargs))
    carrier = _extrapolated(function, matrices, rest, kwargs)
    return _combine(lambda x, y: x.detach() + (y - y.detach()), value, carrier)


def _held(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: detached(x) for name, x in kwargs.items()}


def _jax(function: Any, matrices: Any, rest: Any, kwargs: Any) -> Any:
    jax = _library("jax")

    def is_array(x: Any) -> bool:
        return isinstance(x, jax.Array)

    leaves, tree = jax.tree_util.tree_flatten((matrices, rest, kwargs))
    places = [i for i, x in enumerate(leaves) if is_array(x)]

    def call(method: Any, arrays: Any) -> Any:
        filled = list(leaves)
        for i, x in zip(places, arrays, strict=True):
            filled[i] = x
        return method(function, *jax.tree_util.tree_unflatten(tree, filled))

    rule = jax.custom_jvp(lambda *arrays: call(_plainly, arrays))

    @rule.defjvp  # type: ignore[untyped-decorator]
    def _(primals: Any, tangents: Any) -> Any:
        if not _is_of_depth_one(function, matrices + rest, kwargs):
            call(_positive_if_known, primals)
        moved = jax.jvp(lambda *arrays: call(_extrapolated, arrays), primals, tangents)[1]
        return rule(*primals), moved

    return rule(*(leaves[i] for i in places))


def _plainly(function: Any, matrices: Any, rest: Any, kwargs: Any) -> Any:
    return function(*matrices, *rest, **kwargs)


def _positive_if_known(_: Any, matrices: Any, *__: Any) -> None:
    """Check singular values, unless the code is being compiled."""
    jax = _library("jax")

    for x in matrices:
        try:
            unless_zero(x)
        except jax.errors.ConcretizationTypeError:
            continue


def _extrapolated(function: Any, matrices: Any, rest: Any, kwargs: Any) -> Any:
    """Extrapolate the function from matrices with separate singular values to the matrix."""
    step, nodes = _DOUBLE if str(matrices[0].dtype).endswith("64") else _SINGLE
    spread_of = _spread_of_any if _is_of_depth_one(function, matrices + rest, kwargs) else _spread
    spreads = [spread_of(x, step) for x in matrices]
    if _has_checks(function):
        kwargs = kwargs | {"check_finite": False}  # Done, and compiled code could not.
    shares = [(-1) ** (j + 1) * math.comb(nodes, j) for j in range(1, nodes + 1)]

    def at(j: Any) -> Any:
        moved = [x + j * spread for x, spread in zip(matrices, spreads, strict=True)]
        return function(*moved, *rest, **kwargs)

    if array_api_compat.is_jax_array(matrices[0]):
        return _summed_by_jax(at, shares, matrices[0].dtype)
    total = None
    for j, share in enumerate(shares, start=1):
        found = at(j)
        term = _combine(lambda x, _, c=share: c * x, found, found)
        total = term if total is None else _combine(lambda x, y: x + y, total, term)
    return total


def _summed_by_jax(at: Callable[[Any], Any], shares: list[int], dtype: Any) -> Any:
    """Add up ``share * at(j)``, traced once: tracing and compiling take most of the time."""
    jax = _library("jax")
    weights = jax.numpy.asarray(shares, dtype=dtype)
    found = jax.vmap(at)(jax.numpy.arange(1, len(shares) + 1, dtype=dtype))
    return jax.tree_util.tree_map(lambda x: jax.numpy.tensordot(weights, x, 1), found)


@functools.lru_cache(maxsize=64)
def _parameters(function: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _has_checks(function: Any) -> bool:
    return "check_finite" in _parameters(function)


def _is_of_depth_one(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the metric is that of Frobenius, which is smooth at zero singular values too."""
    given = dict(zip(_parameters(function), args, strict=False)) | kwargs
    depth = given.get("depth")
    return isinstance(depth, (int, float)) and depth == 1


def _combine(operation: Any, first: Any, second: Any) -> Any:
    """Apply an operation to two arrays, or to the members of two tuples."""
    if not isinstance(first, tuple):
        return operation(first, second)
    items = [_combine(operation, x, y) for x, y in zip(first, second, strict=True)]
    return type(first)(*items) if hasattr(first, "_fields") else tuple(items)


def _spread(W: Array, step: float) -> Array:
    """Change that widens every ratio of successive singular values, the larger ones most."""
    xp = namespace(W)
    u, s, vt = xp.linalg.svd(held(W), full_matrices=False)
    r = s.shape[-1]
    shares = constant(step / 2 * np.linspace(1.0, -1.0, r) if r > 1 else np.zeros(r), s)
    limit = max(W.shape[-2:]) * float(xp.finfo(s.dtype).eps) * s[..., :1]
    # No derivative at a zero singular value: in compiled code it becomes NaN.
    shares = xp.where(s[..., -1:] > limit, shares, math.nan * xp.ones_like(s))
    spread: Array = held((u * (shares * s)[..., None, :]) @ vt)
    return spread


def _spread_of_any(W: Array, step: float) -> Array:
    """Change that makes singular values positive and separate."""
    xp = namespace(W)
    u, s, vt = xp.linalg.svd(held(W), full_matrices=False)
    size = xp.where(s[..., :1] == 0, xp.ones_like(s[..., :1]), s[..., :1])
    shares = constant(step / 2 * np.linspace(2.0, 1.0, s.shape[-1]), s)
    spread: Array = held((u * (shares * size)[..., None, :]) @ vt)
    return spread


def require_separate(W: Array, u: Array, s: Array, vt: Array) -> tuple[Array, Array, Array]:
    """Return the SVD of ``W``, whose vectors are not differentiated at equal singular values.

    Raises
    ------
    ValueError
        If torch or jax differentiates them there; in compiled code derivatives are NaN.
    """
    if type(s) is np.ndarray or s.shape[-1] < 2:
        return u, s, vt
    if array_api_compat.is_jax_array(s):
        return _guard()(u, s, vt, 64 * max(W.shape[-2:]))  # type: ignore[no-any-return]
    if is_differentiated(W):
        fixed = detached(s)
        if bool(namespace(fixed).any(_tied(fixed, 64 * max(W.shape[-2:])))):
            raise ValueError(_tie(fixed))
    return u, s, vt


def _tied(s: Array, units: int) -> Array:
    """Whether two neighbours ``(..., 1)`` differ by rounding alone."""
    xp = namespace(s)
    near = s[..., :-1] - s[..., 1:] <= units * float(xp.finfo(s.dtype).eps) * s[..., :1]
    tied: Array = xp.any(near, axis=-1, keepdims=True)
    return tied


def _tie(s: Array) -> str:
    gap = float(namespace(s).min(s[..., :-1] - s[..., 1:]))
    return (
        f"two singular values differ by {gap:.3g}: their "
        "vectors have no derivative where they are equal, pass a matrix that is not differentiated "
        "(without requires_grad, through jax.lax.stop_gradient)"
    )


@functools.cache
def _guard() -> Any:
    jax = _library("jax")

    @functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
    def guarded(u: Any, s: Any, vt: Any, _: int) -> Any:
        return u, s, vt

    @guarded.defjvp  # type: ignore[untyped-decorator]
    def _(units: int, primals: Any, tangents: Any) -> Any:
        s, tied = primals[1], _tied(primals[1], units)
        try:
            if bool(jax.numpy.any(tied)):
                raise ValueError(_tie(s))
        except jax.errors.ConcretizationTypeError:
            pass  # Compiled code.
        # A factor, since a rule has to be linear to be transposed.
        spoilt = jax.numpy.where(tied, math.nan, 1.0).astype(s.dtype)[..., None]
        du, ds, dvt = tangents
        return primals, (du * spoilt, ds, dvt * spoilt)

    return guarded


def unless_zero(W: Array) -> Array:
    """Return ``W`` without its graph, if its singular values are positive.

    Raises
    ------
    ValueError
        If one of them is zero.
    """
    W = detached(W)
    xp = namespace(W)
    s = xp.linalg.svd(W, full_matrices=False)[1]
    limit = max(W.shape[-2:]) * float(xp.finfo(s.dtype).eps) * s[..., :1]
    if 0 not in s.shape and not bool(xp.all(s[..., -1:] > limit)):
        raise ValueError(
            f"a singular value is {float(xp.min(s)):.3g}: beyond depth one there is no derivative "
            "there; pass a matrix without requires_grad, or an SVD of lower rank"
        )
    return W
