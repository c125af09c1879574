r"""Size of Metropolis steps, adapted in the warm-up by dual averaging and then frozen.

It is adapted on copies of the first chains, with a random stream of its own, so that it is one
number for all chains: their draws then depend on neither grouping nor workers.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from dlngeom._lib.vectors import parts, rebuild
from dlngeom.langevin._engine._steps import Plan, advance
from dlngeom.langevin._engine._streams import BLOCK, Streams
from dlngeom.submersion._offers import HasAcceptance, WalkState

__all__ = ["ACCEPTANCE", "adapted_time"]

# Best acceptance of Langevin proposals in many dimensions (Roberts and Rosenthal, 1998).
ACCEPTANCE = 0.57

# Constants of Hoffman and Gelman (2014), section 3.2: strength, early steps, forgetting.
_GAMMA, _EARLY, _FORGET = 0.05, 10.0, 0.75


def adapted_time(plan: Plan, state: WalkState, stream: np.random.Generator) -> float:
    """Time of a step after ``plan.warmup`` steps of dual averaging, from ``plan.time``."""
    walk = plan.walk
    assert isinstance(walk, HasAcceptance)
    chosen = np.arange(BLOCK) % parts(state)[0].shape[0]
    state = rebuild(state, [x[chosen] for x in parts(state)])
    streams, averaging = Streams([stream]), DualAveraging(plan.time)
    with np.errstate(all="ignore"):
        for step in range(1, plan.warmup + 1):
            now = replace(plan, duration=averaging.time, n_steps=1)
            moved = advance(now, state, streams, step)
            averaging.update(float(np.mean(walk.accepted(moved) - walk.accepted(state))))
            state = moved
    return averaging.settled


class DualAveraging:
    r"""Steps whose acceptance tends to a goal.

    .. math:: \log t_{n+1} = \mu - \frac{\sqrt n}{\gamma (n + n_0)} \sum_{i \le n} (0.57 - a_i)

    Parameters
    ----------
    time : float
        First step.
    """

    def __init__(self, time: float) -> None:
        self.time, self.settled = time, time
        self._goal, self._missing, self._mean, self._count = math.log(time), 0.0, 0.0, 0

    def update(self, acceptance: float) -> None:
        """Learn the acceptance of a step of size ``time``."""
        self._count += 1
        self._missing += ACCEPTANCE - acceptance
        n = self._count
        change = math.sqrt(n) / (_GAMMA * (n + _EARLY)) * self._missing
        # Within reason, since a few first rejections say little.
        log = min(max(self._goal - change, self._goal - 20), self._goal + 20)
        weight = n**-_FORGET
        self._mean = weight * log + (1 - weight) * self._mean
        self.time, self.settled = math.exp(log), math.exp(self._mean)
