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
from sklearn.utils import check_array, metadata_routing
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from dlngeom._lib import checks
from dlngeom._lib.arrays import NumpyArray
from dlngeom.completion import _biases, _choice, _door, _model, _observed, _options
from dlngeom.completion._choice import Candidates
from dlngeom.completion._observed import MapFunction, Observed, rms
from dlngeom.completion._path import PathStep, PenaltyPath, Schedule
from dlngeom.completion._solvers import SOLVERS, FitOptions, Progress

__all__ = ["DLNCompletion"]

ROWS_AT_ONCE = 1024


class DLNCompletion(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    r"""Complete a matrix by the cheapest deep linear network that fits its observed entries.

    .. math:: \min_W \tfrac12 \sum_{(i,j) \in S} (W_{ij} - x_{ij})^2
              + \tfrac{\lambda}{2} \min_{W_N \cdots W_1 = W} \sum_p \|W_p\|^2

    after biases are removed, and columns in different units are brought to one scale.  ``lambda``
    falls until the error on entries held out of the observed ones rises, so the rank need not be
    known.

    Parameters
    ----------
    depth : int or "auto"
        Number of layers; deeper networks prefer low rank more strongly.  Depth two
        penalises the nuclear norm, depth one the Frobenius norm.  ``"auto"`` chooses among one,
        two and three by the held-out entries.
    rank : int, optional
        Cap of the rank; by default 50, or ``min(m, n)`` if that is smaller.
    solver : {"alternating", "conjugate-gradient", "trust-regions", "steepest-descent"}
        Alternating least squares along the path of penalties, which is the fastest; or a
        Riemannian descent of the loss without penalty, under ``g^N`` from small starts, where
        early stopping takes the place of the penalty.
    biases : {"auto", "none", "columns", "rows+columns"} or bool
        What to remove first: nothing, the means of columns, as of tables with features in their
        columns, or a mean and biases of rows and columns, as of ratings.  ``"auto"`` chooses by
        the held-out entries; ``True`` and ``False`` stand for the last and the first.
    scale : {"auto", "columns"} or False
        Whether each column is divided by its deviation, so that the errors of columns in
        different units weigh the same.  ``"auto"`` tries it where deviations differ by much, and
        decides by the held-out entries.  Results are in the units of the data.
    clip : bool
        Whether predictions are moved into the range of the observed entries, that of each column
        if these are scaled.
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
    random_state : int, RandomState, Generator or None
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
        Mean, row and column biases, in the units of the data.
    biases_kind_ : str
        Which were removed: ``"none"``, ``"columns"`` or ``"rows+columns"``.
    scale_ : array (n,)
        Deviations of the columns if each is on its own scale, else ones: an entry is predicted by
        ``biases + scale_ * (row_factors_ @ components_)``.
    depth_ : int
        Number of layers.
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
    Input is an array, nested lists or a data frame of integers, float32 or float64; missing are
    NaN, ``None``, ``pandas.NA`` and what a mask covers.  Or it is sparse, where exactly the stored
    entries are observed, zeros included: of DIA the stored diagonals inside the matrix, of BSR the
    entries of the blocks that are not zero, since zeros pad the blocks.  Entries stored more than
    once are averaged, with a warning.  A data frame with sparse columns whose fill value is NaN or
    0 counts as sparse.  The caller's arrays are only read.

    The penalty is the least squared norm of the factors, which balanced networks attain: (5.16)
    of Menon, *The geometry of the deep linear network*.

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
        depth: int | str = 3,
        rank: int | None = None,
        *,
        solver: str = "alternating",
        biases: bool | str = "auto",
        scale: bool | str = "auto",
        clip: bool = False,
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
        self.scale = scale
        self.clip = clip
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
        observed, _ = self._observed(X, None)
        old, options = self._kept_path(observed.shape), self._options(observed)
        candidates = self._candidates(old is not None)
        if old is None:
            options = options._replace(seed=_options.random_seed(self.random_state))
        with self._threads() as apply, self._progress() as report:
            progress = Progress(apply, report)
            fitted = _choice.learn(observed, options, candidates, progress, old)
        # All at once and last, so that a fit that fails leaves what the one before it found.
        _check_names(self, X, True)
        self._seed, self._model = options.seed, fitted
        self.biases_, self.components_, self.penalty_ = (
            fitted.biases, fitted.components, fitted.penalty,
        )  # fmt: skip
        self.row_factors_, self.singular_values_ = fitted.left, fitted.s
        self.path_, self.n_iter_ = fitted.path.steps, len(fitted.path.steps)
        self.rank_, self.validation_error_ = len(fitted.s), fitted.validation_error
        self.depth_, self.biases_kind_ = fitted.options.schedule.depth, fitted.options.biases
        self.scale_ = np.ones(observed.shape[1]) if fitted.columns is None else fitted.columns
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
        observed, dtype = self._observed(X, self)
        limit = _options.memory_limit(self.memory_limit)
        _observed.require_dense_memory(observed.shape, dtype.itemsize, limit)
        biases, left = self._rows(observed)
        out = np.empty(observed.shape, dtype)
        right = self._model.right.T
        for start in range(0, len(out), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            out[part] = left[part] @ right
            out[part] += biases.rows[part, None] + (biases.mean + biases.columns)
            self._model.clipped(out[part], slice(None))
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

        Raises
        ------
        ValueError
            If ``X`` is not valid, or has fewer than two observed entries.
        """
        check_is_fitted(self)
        observed, _ = self._observed(X, self)
        _require_two(observed, "one to fit the rows to and one to predict")
        fraction = checks.fraction("validation_fraction", self.validation_fraction)
        hidden = _observed.held_out_mask(observed, fraction, self._seed + 1)
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

    def _observed(self, X: Any, fitted: DLNCompletion | None) -> tuple[Observed, np.dtype[Any]]:
        """Observed entries and type of an input, whose columns must be those of a fit if given."""
        matrix = check_array(
            _door.as_matrix(X), accept_sparse=True, ensure_all_finite=False,
            dtype=[np.float64, np.float32],
        )  # fmt: skip
        # Checks the names of columns on another estimator, since a fit may still fail.
        reader, reset = (DLNCompletion(), True) if fitted is None else (fitted, False)
        _check_names(reader, X, reset)
        observed = _observed.observed_entries(matrix)
        if fitted is None:
            _require_two(observed, "one to learn from and one to judge by")
            _observed.require_scale(observed.values)
        return observed, matrix.dtype

    def _options(self, observed: Observed) -> FitOptions:
        """Check all parameters; the seed is that of the last fit, if there was one."""
        depths = _options.depths(self.depth)
        if not isinstance(self.depth, str):
            checks.depth(self.depth, infinite=False)  # Several are not taken here.
        rank = _options.rank_cap(self.rank, observed.shape)
        solver = _options.one_of("solver", self.solver, SOLVERS)
        fraction = checks.fraction("validation_fraction", self.validation_fraction)
        max_iter = checks.integer("max_iter", self.max_iter, 1)
        ridge = checks.nonnegative("ridge", self.ridge)
        schedule = Schedule(depths[0], rank, max_iter, checks.nonnegative("tol", self.tol))
        clip, stops_early, *_ = (
            _options.flag(name, getattr(self, name))
            for name in ("clip", "early_stopping", "warm_start", "verbose")
        )
        limit = _options.memory_limit(self.memory_limit)
        _observed.require_memory(observed, rank, limit, solver, max(depths))
        fraction = fraction if stops_early else 0.0
        seed = getattr(self, "_seed", 0)
        return FitOptions(solver, schedule, "none", False, ridge, fraction, seed, clip)

    def _candidates(self, is_warm: bool) -> Candidates:
        """Collect what held-out entries choose; a fit that goes on keeps what they chose."""
        found = Candidates(
            _options.depths(self.depth), _options.bias_kinds(self.biases),
            _options.scales(self.scale),
        )  # fmt: skip
        if not is_warm:
            return found
        last = self._model.options
        return Candidates(
            [last.schedule.depth] if len(found.depths) > 1 else found.depths,
            [last.biases] if len(found.biases) > 1 else found.biases,
            [last.scaled] if len(found.scaled) > 1 else found.scaled,
        )

    def _rows(self, observed: Observed) -> tuple[_biases.Biases, NumpyArray]:
        with self._threads() as apply:
            ridge = checks.nonnegative("ridge", self.ridge)
            return _model.fit_rows(self._model, observed, ridge, apply)

    def _kept_path(self, shape: tuple[int, int]) -> PenaltyPath | None:
        """Path of the last fit, if the next one goes on from there."""
        if not _options.flag("warm_start", self.warm_start) or not hasattr(self, "_model"):
            return None
        path: PenaltyPath = self._model.path
        return path if (path.point.u.shape[0], path.point.vt.shape[1]) == shape else None

    @contextlib.contextmanager
    def _threads(self) -> Iterator[MapFunction]:
        count = effective_n_jobs(_options.thread_count(self.n_jobs))
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


def _check_names(model: DLNCompletion, X: Any, reset: bool) -> None:
    """Keep the names and number of columns, or compare them with those of a fit.

    Names that are not unique say nothing about columns, and scikit-learn refuses them.
    """
    unique = getattr(getattr(X, "columns", None), "is_unique", True)
    known = X if unique else np.broadcast_to(0.0, np.shape(X))
    validate_data(model, known, reset=reset, skip_check_array=True)


def _require_two(observed: Observed, purpose: str) -> None:
    if len(observed.values) < 2:
        raise ValueError(
            f"{len(observed.values)} entries are observed in {observed.shape[0]} samples and "
            f"{observed.shape[1]} feature(s): at least two are needed, {purpose}"
        )


def _index(name: str, values: Any, size: int) -> NumpyArray:
    try:
        index = np.atleast_1d(np.asarray(values))
    except (ValueError, TypeError):
        raise ValueError(f"{name}={values!r}: give one integer for each entry") from None
    is_masked = np.ma.is_masked(values)
    if index.ndim != 1 or is_masked or (index.size and index.dtype.kind not in "iu"):
        kind = f"type {index.dtype}" + " with masked entries" * is_masked
        raise ValueError(f"{name} has shape {index.shape} and {kind}: give integers")
    if index.size and not (index.min() >= 0 and index.max() < size):
        raise ValueError(f"{name} has values from {index.min()} to {index.max()}: 0 to {size - 1}")
    return index.astype(np.intp)
