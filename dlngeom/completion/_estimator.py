"""Matrix completion as a scikit-learn transformer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state, metadata_routing
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from dlngeom._lib import checks
from dlngeom._lib.arrays import NumpyArray
from dlngeom.completion import _biases, _model, _observed
from dlngeom.completion._descent import SOLVERS
from dlngeom.completion._observed import MapFunction, Observed, rms
from dlngeom.completion._path import PathStep, PenaltyPath, Schedule

__all__ = ["DLNCompletion"]

DEFAULT_RANK = 50
ROWS_AT_ONCE = 1024


class DLNCompletion(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    r"""Complete a matrix by the cheapest deep linear network that fits its observed entries.

    .. math:: \min_W \tfrac12 \sum_{(i,j) \in S} (W_{ij} - x_{ij})^2
              + \tfrac{\lambda}{2} \min_{W_N \cdots W_1 = W} \sum_p \|W_p\|^2

    after row and column biases are removed.  ``lambda`` falls until the error on entries held
    out of the observed ones rises, so the rank need not be known.

    Parameters
    ----------
    depth : int
        Number of layers; deeper networks prefer low rank more strongly.  Depth two
        penalises the nuclear norm, depth one the Frobenius norm.
    rank : int, optional
        Cap of the rank; by default 50, or ``min(m, n)`` if that is smaller.
    solver : {"alternating", "conjugate-gradient", "trust-regions", "steepest-descent"}
        Alternating least squares along the path of penalties, which is the fastest; or a
        Riemannian descent of the loss without penalty, under ``g^N`` from small starts, where
        early stopping takes the place of the penalty.
    biases : bool
        Whether to remove the mean and row and column biases first.
    ridge : float
        Shrinkage of the biases, in entries.
    early_stopping : bool
        Whether to hold entries out; if not, the path goes on until the fit is exact to ``tol``.
    validation_fraction : float
        Fraction of the observed entries held out, in (0, 1).  The final fit learns from them too.
    max_iter : int
        Cap of the steps of the path, or of the iterations of a descent.
    tol : float
        The path ends once the training error is below ``tol`` times the size of the data.
    random_state : int, RandomState or None
        Chooses the held-out entries.
    warm_start : bool
        Whether ``fit`` goes on from the last path if the shape is the same.  Entries held out
        then are held out again.
    memory_limit : float
        GiB that a fit or a dense result may take; beyond, an error is raised.
    n_jobs : int, optional
        Number of threads.  Results do not depend on it.
    verbose : bool
        Whether to show a progress bar.

    Attributes
    ----------
    components_ : array (r, n)
        Orthonormal rows: the learned row space.
    row_factors_ : array (m, r)
        Coefficients of the training rows.
    singular_values_ : array (r,)
        Singular values of the low-rank part.
    penalty_ : array (r,)
        Ridge penalty of the coefficients of a row.
    biases_ : Biases
        Mean, row and column biases.
    rank_ : int
        ``r``.
    n_iter_ : int
        Steps of the path, or iterations of the descent that was best.
    n_features_in_ : int
        Number of columns ``n``.
    validation_error_ : float
        RMSE on the held-out entries, NaN without early stopping.
    path_ : list of PathStep
        Threshold (NaN for a descent), rank and errors of every step, in units of the data without
        biases.

    See Also
    --------
    dlngeom.completion.complete : The function behind ``dlngeom complete``, for dense matrices.
    dlngeom.pymanopt.EndToEnd : The manifold of the Riemannian solvers.

    Notes
    -----
    Input is dense with NaN where an entry is missing, or sparse, where exactly the stored
    entries are observed, zeros included.  The penalty is the least squared norm of the factors,
    which balanced networks attain: (5.16) of Menon, *The geometry of the deep linear network*.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeom.completion import DLNCompletion
    >>> x = np.outer(np.arange(1.0, 9.0), np.arange(1.0, 7.0))
    >>> x[2, 3] = np.nan
    >>> float(DLNCompletion(random_state=0, biases=False).fit_transform(x)[2, 3].round(3))
    12.0
    """

    # Positions of entries are not metadata that a meta-estimator could route.
    __metadata_request__predict: ClassVar = {
        "rows": metadata_routing.UNUSED,
        "columns": metadata_routing.UNUSED,
    }

    def __init__(
        self,
        depth: int = 3,
        rank: int | None = None,
        *,
        solver: str = "alternating",
        biases: bool = True,
        ridge: float = 1.0,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        max_iter: int = 500,
        tol: float = 1e-8,
        random_state: Any = None,
        warm_start: bool = False,
        memory_limit: float = 4.0,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.depth = depth
        self.rank = rank
        self.solver = solver
        self.biases = biases
        self.ridge = ridge
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.warm_start = warm_start
        self.memory_limit = memory_limit
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> DLNCompletion:
        """Learn biases, row space and row coefficients from the observed entries.

        Parameters
        ----------
        X : array, data frame or sparse matrix (m, n)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, fewer than two entries are observed, an entry is
            infinite, a stored entry of a sparse matrix is NaN, or the fit needs too much memory.
        """
        observed = self._observed(X, reset=True)
        old = self._kept_path(observed.shape)
        if old is None:
            self._seed = int(check_random_state(self.random_state).randint(2**31))
        options = self._options(observed)
        with self._threads() as apply, self._progress() as report:
            fitted = _model.learn(observed, options, old=old, apply=apply, report=report)
        self._model = fitted
        self.biases_, self.components_, self.penalty_ = (
            fitted.biases, fitted.components, fitted.penalty,
        )  # fmt: skip
        self.row_factors_, self.singular_values_ = fitted.left, fitted.s
        self.path_, self.n_iter_ = fitted.path.steps, len(fitted.path.steps)
        self.rank_, self.validation_error_ = len(fitted.s), fitted.validation_error
        return self

    def transform(self, X: Any) -> NumpyArray:
        """Complete rows: observed entries as given, the others from the learned row space.

        Parameters
        ----------
        X : array, data frame or sparse matrix (k, n)
            Training rows or new ones, which are fitted to their observed entries.

        Returns
        -------
        array (k, n)

        Raises
        ------
        ValueError
            If ``X`` is not valid, or the result would take more than ``memory_limit``.
        """
        check_is_fitted(self)
        observed = self._observed(X, reset=False)
        dtype = np.dtype(np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64)
        _observed.require_dense_memory(observed.shape, dtype.itemsize, self.memory_limit)
        biases, left = self._rows(observed)
        out = np.empty(observed.shape, dtype)
        for start in range(0, len(out), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            out[part] = left[part] @ self.components_
            out[part] += biases.rows[part, None] + (biases.mean + biases.columns)
        out[observed.rows, observed.columns] = observed.values
        return out

    def predict(self, rows: Any, columns: Any) -> NumpyArray:
        """Predict single entries of the training matrix; nothing of its size is formed.

        Parameters
        ----------
        rows, columns : int array (e,)

        Returns
        -------
        array (e,)

        Raises
        ------
        ValueError
            If the lengths differ or an index is out of range.
        """
        check_is_fitted(self)
        m, n = len(self.row_factors_), self.n_features_in_
        rows, columns = _index("rows", rows, m), _index("columns", columns, n)
        if rows.shape != columns.shape:
            raise ValueError(f"rows and columns have shapes {rows.shape} and {columns.shape}")
        return _model.values(self._model, self.biases_, self.row_factors_, rows, columns)

    def score(self, X: Any, y: Any = None) -> float:
        """Negative RMSE on entries of ``X`` that are hidden to be predicted.

        A random ``validation_fraction`` of the observed entries is hidden, the rows are fitted to
        the rest, and the hidden entries are compared.  On training rows the score is optimistic,
        since the row space was learned from all of their entries.

        Parameters
        ----------
        X : array, data frame or sparse matrix (k, n)
        y : ignored

        Returns
        -------
        float
        """
        check_is_fitted(self)
        observed = self._observed(X, reset=False)
        hidden = _observed.held_out_mask(observed, self.validation_fraction, self._seed + 1)
        biases, left = self._rows(observed.select(~hidden))
        test = observed.select(hidden)
        predicted = _model.values(self._model, biases, left, test.rows, test.columns)
        return -rms(predicted - test.values)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _observed(self, X: Any, *, reset: bool) -> Observed:
        checked = validate_data(
            self, X, reset=reset, accept_sparse="csr", ensure_all_finite=False,
            dtype=[np.float64, np.float32],
        )  # fmt: skip
        observed = _observed.observed_entries(checked)
        if reset and len(observed.values) < 2:
            raise ValueError(
                f"{len(observed.values)} entries are observed in {observed.shape[0]} samples and "
                f"{observed.shape[1]} feature(s): at least two are needed"
            )
        if reset:
            _observed.require_scale(observed.values)
        return observed

    def _options(self, observed: Observed) -> _model.FitOptions:
        depth = int(checks.depth(self.depth, infinite=False))
        if self.rank is None:
            rank = min(DEFAULT_RANK, *observed.shape)
        else:
            rank = checks.rank(self.rank, *observed.shape)
        self._check_numbers()
        _observed.require_memory(observed, rank, self.memory_limit, self.solver)
        schedule = Schedule(depth, rank, self.max_iter, self.tol)
        fraction = self.validation_fraction if self.early_stopping else 0.0
        return _model.FitOptions(
            self.solver, schedule, self.biases, self.ridge, fraction, self._seed
        )

    def _check_numbers(self) -> None:
        if self.solver not in (known := ("alternating", *SOLVERS)):
            raise ValueError(f"solver={self.solver!r}: it must be one of {', '.join(known)}")
        checks.fraction("validation_fraction", self.validation_fraction)
        checks.integer("max_iter", self.max_iter, 1)
        checks.nonnegative("ridge", self.ridge)
        checks.nonnegative("tol", self.tol)
        if self.memory_limit != math.inf:
            checks.nonnegative("memory_limit", self.memory_limit)

    def _rows(self, observed: Observed) -> tuple[_biases.Biases, NumpyArray]:
        with self._threads() as apply:
            return _model.fit_rows(self._model, observed, self.biases, self.ridge, apply)

    def _kept_path(self, shape: tuple[int, int]) -> PenaltyPath | None:
        """Path of the last fit, if the next one goes on from there."""
        if not self.warm_start or not hasattr(self, "_model"):
            return None
        path: PenaltyPath = self._model.path
        return path if (path.point.u.shape[0], path.point.vt.shape[1]) == shape else None

    @contextlib.contextmanager
    def _threads(self) -> Iterator[MapFunction]:
        count = effective_n_jobs(self.n_jobs)
        if count == 1:
            yield map
            return
        with ThreadPoolExecutor(count) as pool:
            yield pool.map

    @contextlib.contextmanager
    def _progress(self) -> Iterator[Callable[[PathStep], None] | None]:
        if not self.verbose:
            yield None
            return
        with tqdm(unit="step") as bar:

            def report(step: PathStep) -> None:
                error = step.training if math.isnan(step.held_out) else step.held_out
                if not math.isnan(error):
                    bar.set_postfix(rank=step.rank, error=f"{error:.3g}", refresh=False)
                bar.update()

            yield report


def _index(name: str, values: Any, size: int) -> NumpyArray:
    index = np.atleast_1d(np.asarray(values))
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise ValueError(f"{name} has shape {index.shape} and type {index.dtype}: give integers")
    if index.size and not (index.min() >= 0 and index.max() < size):
        raise ValueError(f"{name} has values from {index.min()} to {index.max()}: 0 to {size - 1}")
    return index
