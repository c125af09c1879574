"""Models of torch that are deep linear networks: which they are, and why another is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

try:
    import torch
    from torch import nn
except ImportError as error:
    raise ImportError("dlngeom.torch needs torch: pip install 'dlngeom[torch]'") from error

# The library too, so that every file of this room meets the message above.
__all__ = ["Model", "linear_layers", "nn", "reusable", "torch"]

# A sequence, or a single layer.
Model: TypeAlias = nn.Module | Iterable[nn.Module]


def reusable(model: Any) -> Any:
    """Model that can be walked along twice."""
    return list(model) if isinstance(model, Iterator) else model


def linear_layers(model: Model) -> list[nn.Linear]:
    """Layers of a model, that of the input first.

    Raises
    ------
    TypeError
        If the model is no sequence, or a layer is not linear.
    ValueError
        If there is no layer, or one has a bias, no values yet, or a weight that is not its own.
    """
    layers = list(_flat(model))
    if not layers:
        raise ValueError("the model has no layers: it must have at least one nn.Linear")
    owners: dict[int, int] = {}
    for p, layer in enumerate(layers, start=1):
        _require_linear(p, layer)
        first = owners.setdefault(id(layer.weight), p)
        if first != p:
            raise ValueError(
                f"layers {first} and {p} share one weight: the layers of a deep linear network "
                "move independently, give each its own"
            )
    return layers


def _flat(model: Any) -> Iterator[Any]:
    """Layers one after the other, those of sequences within sequences included."""
    if isinstance(model, nn.Linear):
        yield model
        return
    sequence = isinstance(model, (nn.Sequential, nn.ModuleList))
    if not sequence and (isinstance(model, nn.Module) or not isinstance(model, Iterable)):
        kind = type(model).__name__
        raise TypeError(
            f"the model is of type {kind}, which is no sequence of layers: pass an nn.Sequential, "
            "or its linear layers in order"
        )
    for entry in model:
        if isinstance(entry, (nn.Sequential, nn.ModuleList)):
            yield from _flat(entry)
        else:
            yield entry


def _require_linear(p: int, layer: Any) -> None:
    kind = type(layer).__name__
    if not isinstance(layer, nn.Linear) or type(layer).forward is not nn.Linear.forward:
        raise TypeError(
            f"layer {p} is of type {kind}: a deep linear network has only nn.Linear, leave it out"
        )
    bias: Any = layer.bias
    if bias is not None:
        sizes = f"{layer.in_features}, {layer.out_features}"
        raise ValueError(
            f"layer {p} has a bias: a deep linear network has none, build the layer with "
            f"nn.Linear({sizes}, bias=False)"
        )
    weight: Any = dict(layer.named_parameters(recurse=False)).get("weight")
    if weight is None:
        raise ValueError(
            f"the weight of layer {p} is computed from other parameters: remove its "
            "parametrization or pruning, so that it is a parameter itself"
        )
    if isinstance(weight, nn.parameter.UninitializedParameter):
        raise ValueError(f"layer {p} is lazy and has no weight yet: call the model once")
