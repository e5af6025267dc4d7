"""Sample sizes are those of the published formulas, and reach what they promise."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats
from scipy.special import expit

from visionfm.metrics.binary import Binary
from visionfm.metrics.calibration import calibration
from visionfm.metrics.sample_size import for_auroc, for_slope


def test_auroc_needs_what_newcombes_formula_says() -> None:
    """An independent computation: the published standard error, solved for n."""

    def width(n: float, c: float, p: float) -> float:
        top = c * (1 - c) * (1 + (n / 2 - 1) * ((1 - c) / (2 - c)) + ((n / 2 - 1) * c) / (1 + c))
        return 2 * 1.959964 * np.sqrt(top / (n * n * p * (1 - p)))

    for c, p in ((0.8, 0.1), (0.7, 0.5), (0.95, 0.02), (0.6, 0.3)):
        exact = optimize.brentq(lambda n, c=c, p=p: width(n, c, p) - 0.1, 2, 1e7)
        assert for_auroc(c, p).samples == int(np.ceil(exact))
    assert for_auroc(0.8, 0.1).cases == int(np.ceil(0.1 * for_auroc(0.8, 0.1).samples))


def test_sizes_are_those_of_pmvalsampsize() -> None:
    """The published program (Python, 0.2.1, 200,000 simulated log odds): C statistic exactly, slope but for chance."""
    for prevalence, c, mean, spread, for_c, for_s in (
        (0.018, 0.8, -5, 2.5, 4252, 4545),
        (0.22, 0.82, -1.6, 1.2, 400, 2877),
    ):
        odds = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000, mean, spread)
        assert for_auroc(c, prevalence).samples == for_c
        assert for_slope(expit(odds)).samples == pytest.approx(for_s, rel=0.01)


def test_the_slope_needs_what_rileys_integrals_say() -> None:
    """Of normal log odds: the information matrix as integrals, inverted by numpy."""
    mean, spread = -1.8, 1.2

    def information(power: int) -> float:
        def inside(x: float) -> float:
            return float(x**power * expit(x) * (1 - expit(x)) * stats.norm.pdf(x, mean, spread))

        return float(integrate.quad(inside, mean - 10 * spread, mean + 10 * spread)[0])

    matrix = np.array([[information(0), information(1)], [information(1), information(2)]])
    exact = np.linalg.inv(matrix)[1, 1] / (0.1 / 1.959964) ** 2
    drawn = expit(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000, mean, spread))
    assert for_slope(drawn).samples == pytest.approx(exact, rel=0.003)


def test_tests_of_that_size_have_intervals_of_that_width() -> None:
    widths = {"auroc": [], "calibration_slope": []}
    rng = np.random.default_rng(0)
    odds = rng.normal(-0.5, 1.5, 100_000)
    truth = (rng.random(100_000) < expit(odds)).astype(float)
    whole = Binary(truth, expit(odds), {})(np.ones((1, 100_000)))["auroc", None][0]
    sizes = {
        "auroc": for_auroc(whole, truth.mean()).samples,
        "calibration_slope": for_slope(expit(odds)).samples,
    }
    from visionfm.metrics.evidence import Ranking
    from visionfm.metrics.intervals import interval

    for metric, size in sizes.items():
        for at in range(12):
            rows = np.arange(size) + at * size
            if rows[-1] >= len(truth):
                break
            said, of = expit(odds[rows]), truth[rows]
            people = np.arange(size)
            one = (
                interval("auroc", Ranking(of, said), people)
                if metric == "auroc"
                else calibration(of, said, people)[metric]
            )
            widths[metric].append((one.high - one.low) / 2)
    assert np.mean(widths["auroc"]) == pytest.approx(0.05, rel=0.1)
    assert np.mean(widths["calibration_slope"]) == pytest.approx(0.1, rel=0.1)


def test_probabilities_that_are_all_the_same_say_no_slope() -> None:
    with pytest.raises(ValueError, match="no slope can be known"):
        for_slope(np.full(50, 0.3))
