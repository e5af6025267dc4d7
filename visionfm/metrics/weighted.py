"""What all metrics of weighted samples share: a bootstrap draw is a vector of weights, all draws are matrix operations.

Weights count how often a sample was drawn, so that unit weights give the plain metric and integer weights that of the
repeated sample (tested against scikit-learn). A metric that does not exist for a draw is NaN there; `why_undefined`
of its class says why.
Shape legend: D draws, N samples.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Values = dict[tuple[str, str | None], Floats]  # (metric, operating point) -> values_D


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return the quotient, NaN where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
