"""Random streams of blocks of chains, drawn on the device of their arrays.

Each block of 64 chains has a stream of its own, seeded by its numpy generator: numpy arrays get
numbers of that generator, those of torch and jax numbers of their own library on their device.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import array_api_compat
import numpy as np

from dlngeom._lib.arrays import Array, constant

__all__ = ["BLOCK", "Streams"]

# Chains that share a random stream: results depend on this number, and on no other grouping.
BLOCK = 64

# Numbers that torch draws at once for one block, since a call for each draw would cost more.
_CHUNK = 2**16


class Streams:
    """One random stream for each block of chains.

    Parameters
    ----------
    generators : list of numpy.random.Generator
    """

    def __init__(self, generators: list[np.random.Generator]) -> None:
        self.generators = generators
        self._native: _TorchNormals | _JaxNormals | None = None

    def words(self) -> np.ndarray:
        """Two words ``(block, 2)`` that seed a key of jax for each block."""
        return np.stack([x.integers(2**32, size=2, dtype=np.uint32) for x in self.generators])

    def normal(self, shape: tuple[int, ...], chains: np.ndarray | None, like: Array) -> Array:
        """Gaussian numbers for some chains, or all, each from the stream of its block.

        Parameters
        ----------
        shape : tuple of int
            ``(chain, ...)``.
        chains : numpy array (chain,) or None
            Increasing numbers of the chains, if they are not all.
        like : array
            Array with the library, dtype and device of the result.
        """
        if type(like) is np.ndarray:
            return self._numpy(shape, chains, like.dtype)
        if array_api_compat.is_torch_array(like) or array_api_compat.is_jax_array(like):
            if self._native is None:
                torch = array_api_compat.is_torch_array(like)
                kind = _TorchNormals if torch else _JaxNormals
                self._native = kind(self.generators, like)
            return self._native.normal(shape, chains)
        dtype = np.float32 if "float32" in str(like.dtype) else np.float64
        return constant(self._numpy(shape, chains, dtype), like)

    def _numpy(self, shape: tuple[int, ...], chains: np.ndarray | None, dtype: Any) -> np.ndarray:
        count = len(self.generators)
        if count == 1:
            return self.generators[0].standard_normal(shape, dtype=dtype)
        if chains is None:
            sizes = np.full(count, BLOCK)
            sizes[-1] = shape[0] - BLOCK * (count - 1)
        else:
            sizes = np.bincount(chains // BLOCK, minlength=count)
        drawn = [
            generator.standard_normal((size, *shape[1:]), dtype=dtype)
            for generator, size in zip(self.generators, sizes, strict=True)
            if size
        ]
        return drawn[0] if len(drawn) == 1 else np.concatenate(drawn)


class _TorchNormals:
    """A ``torch.Generator`` for each block, on the device of the arrays.

    A block always draws for all its chains, so that blocks seldom get out of step with each other.
    """

    def __init__(self, generators: list[np.random.Generator], like: Array) -> None:
        import torch

        self._torch: Any = torch
        seeds, device = [int(x.integers(2**63)) for x in generators], array_api_compat.device(like)
        self._generators = [torch.Generator(device).manual_seed(x) for x in seeds]
        self._buffer: Any = torch.empty((len(seeds), _CHUNK), dtype=like.dtype, device=device)
        self._used = np.full(len(seeds), _CHUNK)

    def normal(self, shape: tuple[int, ...], chains: np.ndarray | None) -> Array:
        size = BLOCK * math.prod(shape[1:])
        everyone = np.arange(len(self._used))
        blocks = everyone if chains is None else np.unique(chains // BLOCK)
        if np.all(self._used[blocks] == self._used[blocks[0]]):
            drawn = self._take(blocks, size)
        else:
            drawn = self._torch.cat(
                [self._take(blocks[i : i + 1], size) for i in range(len(blocks))]
            )
        rows: Array = drawn.reshape(len(blocks) * BLOCK, *shape[1:])
        if chains is None:
            return rows[: shape[0]]
        places = np.searchsorted(blocks, chains // BLOCK) * BLOCK + chains % BLOCK
        return rows[self._torch.as_tensor(places, device=self._buffer.device)]

    def _take(self, blocks: np.ndarray, size: int) -> Any:
        """Next numbers of blocks that are in step, ``(block, size)``."""
        whole, taken = len(blocks) == len(self._used), []
        while size > 0:
            used = int(self._used[blocks[0]])
            if used == _CHUNK:
                for i in blocks:
                    self._torch.randn(
                        _CHUNK, generator=self._generators[i], out=self._buffer[int(i)]
                    )
                used = 0
            count = min(size, _CHUNK - used)
            window = self._buffer[:, used : used + count]
            # A copy, since the next numbers overwrite the buffer.
            taken.append(window.clone() if whole else window[self._index(blocks)])
            self._used[blocks], size = used + count, size - count
        return taken[0] if len(taken) == 1 else self._torch.cat(taken, 1)

    def _index(self, blocks: np.ndarray) -> Any:
        return self._torch.as_tensor(blocks, device=self._buffer.device)


class _JaxNormals:
    """A key for each block, which is combined with the number of the draw."""

    def __init__(self, generators: list[np.random.Generator], like: Array) -> None:
        words = [x.integers(2**32, size=2, dtype=np.uint32) for x in generators]
        self._words, self._like = np.stack(words), like
        self._draws = np.zeros(len(words), dtype=np.uint32)

    def normal(self, shape: tuple[int, ...], chains: np.ndarray | None) -> Array:
        blocks = slice(None) if chains is None else np.unique(chains // BLOCK)
        draw = _jax_draw((BLOCK, *shape[1:]), str(self._like.dtype))
        device = array_api_compat.device(self._like)
        import jax

        words, count = jax.device_put((self._words, self._draws), device)
        rows: Array = draw(words, count).reshape(-1, *shape[1:])
        # A new array, since jax may still read the old one in place.
        self._draws = self._draws.copy()
        self._draws[blocks] += 1
        return rows[: shape[0]] if chains is None else rows[jax.device_put(chains, device)]


@cache
def _jax_draw(shape: tuple[int, ...], dtype: str) -> Any:
    """Compiled function from words of keys and counts to numbers ``(block, ...)``."""
    import jax

    def one(words: Any, count: Any) -> Any:
        key = jax.random.wrap_key_data(words, impl="threefry2x32")
        return jax.random.normal(jax.random.fold_in(key, count), shape, dtype)

    return jax.jit(jax.vmap(one))
