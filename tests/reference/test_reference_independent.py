"""Our basic statistics beside other packages, where both define the same: light-curve, cesium, SciPy and astropy."""

from __future__ import annotations

import astropy.stats
import numpy as np
import pytest
import scipy.stats

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.features.external import measure_light_curve, require
from scope_ml.kernels.registry import load

N_STARS = 12


def stars():
    """Light curves of 4 to 600 points of several shapes."""
    random = np.random.default_rng(11)
    for n in (4, 5, 9, 30, 60, 101, 200, 201, 350, 351, 500, 600):
        t = 2458400 + np.sort(random.uniform(0, 1200, n))
        e = random.uniform(0.01, 0.2, n)
        yield t, random.uniform(12, 20) + 0.2 * random.standard_t(4, n) + 0.3 * np.sin(t / 7), e


@pytest.fixture(scope="module")
def light_curves():
    return list(stars())


@pytest.fixture(scope="module")
def batch(light_curves):
    return LightCurveBatch.from_lists(np.arange(N_STARS), *map(list, zip(*light_curves, strict=True)))


@pytest.fixture(scope="module")
def ours(batch):
    return load("statistics", "cpu")(batch, None)


def same(found, expected, bound=1e-9):
    np.testing.assert_allclose(found, expected, rtol=bound, atol=0)


def test_light_curve(batch, ours, light_curves):
    names = (
        "ObservationCount",
        "Median",
        "WeightedMean",
        "ReducedChi2",
        "Roms",
        "MedianAbsoluteDeviation",
        "StetsonK",
    )
    theirs = measure_light_curve(batch, names)
    for column, theirs_is in {
        "n": "observation_count",
        "median": "median",
        "wmean": "weighted_mean",
        "chi2red": "chi2",
        "roms": "roms",
        "median_abs_dev": "median_absolute_deviation",
        "stetson_k": "stetson_K",
    }.items():
        same(ours[column], theirs[f"lc_{theirs_is}"])


def test_anderson_darling_is_light_curves_of_magnitudes_over_errors(ours, light_curves):
    """Theirs has a correction for few points, and is of the magnitudes that it is given."""
    statistic = require("light_curve").AndersonDarlingNormal()
    for k, (t, m, e) in enumerate(light_curves):
        n = m.size
        same(ours["ad"][k] * (1 + 4 / n - 25 / n**2), statistic(t, m / e, e, sorted=True)[0], 1e-8)


def test_cesium(ours, light_curves):
    graph = require("cesium").dask_feature_graph
    for k, (_, m, e) in enumerate(light_curves):
        for column, name, arguments in (
            ("median", "median", (m,)),
            ("median_abs_dev", "median_absolute_deviation", (m,)),
            ("wmean", "weighted_average", (m, e)),
            ("wstd", "weighted_std_dev", (m, e)),
            ("sw", "shapiro_wilk", (m, e)),
        ):
            same(ours[column][k], graph[name][0](*arguments), 1e-8 if column == "sw" else 1e-9)


def test_scipy(ours, light_curves):
    for k, (_, m, e) in enumerate(light_curves):
        weights = scipy.stats.norm.logpdf(m, ours["wmean"][k], e) - scipy.stats.norm.logpdf(0, 0, e)
        same(ours["chi2red"][k], -2 * weights.sum() / (m.size - 1))
        same(ours["median_abs_dev"][k], scipy.stats.median_abs_deviation(m))
        for column, outside in (("iqr", 25), ("i60r", 20), ("i70r", 15), ("i80r", 10), ("i90r", 5)):
            same(ours[column][k], scipy.stats.iqr(m, rng=(outside, 100 - outside)))
        # SciPy's moments are about the mean: given the same residuals and their mirror image there is nothing else.
        residuals = (m - ours["wmean"][k]) / e
        mirrored = np.concatenate([residuals, -residuals])
        n, fourth = m.size, scipy.stats.moment(mirrored, 4) * m.size
        factor = n * (n + 1) / ((n - 1) * (n - 2) * (n - 3))
        same(ours["smallkurt"][k] + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)), factor * fourth)


def test_skewness_of_equal_errors_is_scipys(light_curves):
    """With all errors equal to the scatter, the skewness scaled by errors is the corrected one, to its power of N."""
    for t, m, _ in light_curves[1:]:
        e = np.full(m.size, m.std(ddof=1))
        found = load("statistics", "cpu")(LightCurveBatch.from_lists([1], [t], [m], [e]), None)
        n = m.size
        plain = scipy.stats.skew(m) * n**2 / ((n - 1) * (n - 2)) * ((n - 1) / n) ** 1.5
        same(found["skew"][0], plain, 1e-8)
        kurtosis = n * (n + 1) / ((n - 1) * (n - 2) * (n - 3)) * n * (scipy.stats.kurtosis(m) + 3) * ((n - 1) / n) ** 2
        same(found["smallkurt"][0] + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)), kurtosis, 1e-8)


def test_astropy(ours, light_curves):
    for k, (_, m, _) in enumerate(light_curves):
        same(ours["median_abs_dev"][k], astropy.stats.median_absolute_deviation(m))
        # Its robust standard deviation is 1.4826 of the same.
        same(ours["median_abs_dev"][k], astropy.stats.mad_std(m) * scipy.stats.norm.ppf(0.75))
