from __future__ import annotations

import numpy as np
import pytest

from scope_ml.core.configuration import build, science_digest
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.kernels.dmdt import DM_EDGES, DT_EDGES, DmDtOptions, cpu, reference
from scope_ml.kernels.dmdt.ordered import count_ordered
from scope_ml.kernels.dmdt.tables import tables_of

DEFAULT = DmDtOptions()
devices = pytest.mark.parametrize("device", [reference, cpu], ids=["reference", "cpu"])


def light_curve(n, *, seed=0, nights=900.0, scatter=0.3, digits=None, hours=8.0):
    """Times and magnitudes of a survey; `digits` rounds magnitudes, so that many differences lie on an edge."""
    random = np.random.default_rng((seed, n))
    t = np.sort(np.floor(random.uniform(0, nights, n)) + random.uniform(0, hours / 24, n)) + 2458400.5
    m = random.normal(17.0, scatter, n)
    return t, m if digits is None else np.round(m, digits)


def batch_of(*curves):
    times, mags = zip(*curves, strict=True)
    return LightCurveBatch.from_lists(range(len(times)), times, mags, [np.full(len(t), 0.02) for t in times])


def expected(t, m, options=DEFAULT):
    """All pairs through numpy, one light curve."""
    i, j = np.triu_indices(len(t), 1)
    edges = [np.array(options.dm_edges), np.array(options.dt_edges)]
    return np.histogram2d(m[j] - m[i], t[j] - t[i], bins=edges)[0].astype(np.int64)


def by_order(t, m, options=DEFAULT):
    row = np.zeros(options.shape, np.int64)
    count_ordered(t, m, tables_of(options), row)
    return row


CURVES = {
    "survey": light_curve(300),
    "few": light_curve(9, seed=2),
    "long": light_curve(700, nights=4000.0, scatter=1.0),
    "one night": light_curve(200, nights=1.0, scatter=0.05),
    "on edges": light_curve(300, digits=2, scatter=0.2),
    "coarse": light_curve(200, digits=1, nights=30.0, hours=0.0),
    "beyond 8 mag": light_curve(150, scatter=2.2),
    "far beyond": light_curve(150, scatter=20.0),
    "one point far off": (light_curve(80)[0], np.append(light_curve(80)[1][1:], 99.0)),
    "constant": (light_curve(60)[0], np.full(60, 16.1)),
    "one time": (np.full(40, 2458400.5), light_curve(40)[1]),
    "repeated times": (np.repeat(light_curve(50)[0], 3), light_curve(150)[1]),
    "first time 0": (np.append(0.0, light_curve(30)[0]), light_curve(31)[1]),
}


@pytest.mark.parametrize("name", CURVES)
def test_counts_are_numpys_histogram_of_all_pairs(name):
    t, m = CURVES[name]
    for found in (cpu.counts(batch_of((t, m)), DEFAULT)[0], by_order(t, m)):
        np.testing.assert_array_equal(found, expected(t, m))
    np.testing.assert_array_equal(reference.counts(batch_of((t, m)), DEFAULT)[0], expected(t, m))


#: Edges of every awkward kind: one bin, not from 0, hairs apart, wide and narrow together, very many, on one side only.
EDGES = {
    "one bin": ((0.0, 5.0), (-0.1, 0.1)),
    "not from 0": ((0.5, 1.0, 30.0), (-2.0, -0.3, 0.25, 1.0)),
    "hairs apart": ((0.0, 1.0, np.nextafter(1.0, 2), 10.0), (-0.1, 0.0, 5e-324, 1e-12, 0.1, np.nextafter(0.1, 1))),
    "wide": ((1e-6, 1e-3, 1e5), (-1e4, -1e-4, 1e-4, 1e6)),
    "many": (tuple(np.linspace(0, 300, 40)), tuple(np.linspace(-1, 1, 101))),
    "brightening only": ((0.0, 10.0, 100.0), (-3.0, -1.0, -0.2)),
    "tiny": ((0.0, 1e-320), (-1e-310, 1e-310)),
}


@pytest.mark.parametrize("name", EDGES)
def test_any_edges(name):
    options = DmDtOptions(dt_edges=EDGES[name][0], dm_edges=EDGES[name][1])
    curves = [CURVES[key] for key in ("survey", "on edges", "coarse", "one time", "beyond 8 mag")]
    found = cpu.counts(batch_of(*curves), options)
    assert found.shape == (len(curves), len(EDGES[name][1]) - 1, len(EDGES[name][0]) - 1)
    for row, curve in zip(found, curves, strict=True):
        np.testing.assert_array_equal(row, expected(*curve, options))
        np.testing.assert_array_equal(by_order(*curve, options), row)


def test_long_light_curves_are_counted_without_visiting_pairs():
    t, m = light_curve(2200, nights=3000.0, digits=3)
    found = cpu.counts(batch_of((t, m)), DEFAULT)[0]
    np.testing.assert_array_equal(found, expected(t, m))
    np.testing.assert_array_equal(found, by_order(t, m))
    # 9,000 points are 40 million pairs: every one must still be counted once.
    t, m = light_curve(9000, nights=1900.0)
    assert cpu.counts(batch_of((t, m)), DEFAULT).sum() == 9000 * 8999 // 2
    # One bin in time of a day leaves few pairs, whatever the number of points: those are visited.
    near = DmDtOptions(dt_edges=(0.0, 0.5))
    np.testing.assert_array_equal(cpu.counts(batch_of((t, m)), near)[0], by_order(t, m, near))


@devices
def test_bins_hold_their_lower_edge_and_the_last_its_upper_edge_too(device):
    options = DmDtOptions(dt_edges=(0.0, 1.0, 2.0), dm_edges=(-1.0, 0.0, 1.0))

    def place(dt, dm):
        batch = batch_of((np.array([0.0, dt]), np.array([0.0, dm])))
        return [tuple(map(int, cell)) for cell in np.argwhere(device.counts(batch, options)[0])]

    assert place(0.0, 0.0) == [(1, 0)]
    assert place(1.0, -1.0) == [(0, 1)]
    assert place(2.0, 1.0) == [(1, 1)]
    assert place(np.nextafter(1.0, 0), np.nextafter(0.0, -1)) == [(0, 0)]
    assert place(np.nextafter(2.0, 3), 0.5) == []
    assert place(0.5, np.nextafter(1.0, 2)) == []
    assert place(0.5, np.nextafter(-1.0, -2)) == []


@devices
def test_image_is_counts_over_their_norm_with_fading_positive(device):
    t, m = np.array([0.0, 1.2, 2.0]) + 2458400, np.array([15.0, 15.6, 15.6])
    image = device.run(batch_of((t, m)), DEFAULT)["dmdt"][0]
    assert image.dtype == np.float32
    assert image.shape == (26, 26)
    cells = {(18, 7): 1, (18, 8): 1, (13, 6): 1}
    assert {tuple(map(int, cell)) for cell in np.argwhere(image)} == set(cells)
    assert DM_EDGES[18:20] == (0.5, 0.75)
    assert DT_EDGES[7:9] == (1.0, 1.5)
    np.testing.assert_allclose(image[image > 0], 1 / np.sqrt(3), rtol=1e-7)


@devices
def test_no_pair_gives_zeros_and_a_bad_value_nan(device):
    t, m = light_curve(30)
    curves = [(t[:0], m[:0]), (t[:1], m[:1]), (t[:2] * 1e4, m[:2]), (t, np.where(m == m[3], np.nan, m)), (t, m)]
    batch = batch_of(*curves)
    images = device.run(batch, DEFAULT)["dmdt"]
    assert not images[:3].any()
    assert np.isnan(images[3]).all()
    assert np.linalg.norm(images[4]) == pytest.approx(1, rel=1e-6)
    counts = device.counts(batch, DEFAULT)
    assert counts.dtype == np.int64
    assert not counts[:4].any()
    bad_error = LightCurveBatch.from_lists([1], [t], [m], [np.append(np.full(29, 0.1), 0.0)])
    assert np.isnan(device.run(bad_error, DEFAULT)["dmdt"]).all()


@devices
def test_points_may_come_in_any_order(device):
    t, m = light_curve(120)
    order = np.random.default_rng(1).permutation(120)
    np.testing.assert_array_equal(device.counts(batch_of((t[order], m[order])), DEFAULT)[0], expected(t, m))
    # Of points at one time the first given is the earlier.
    t = np.random.default_rng(2).integers(0, 5, 120) + 2458400.0
    order = np.argsort(t, kind="stable")
    np.testing.assert_array_equal(device.counts(batch_of((t, m)), DEFAULT)[0], expected(t[order], m[order]))


def test_more_light_curves_than_are_held_at_a_time():
    curves = [light_curve(n % 12, seed=n) for n in range(2 * cpu.CHUNK + 5)]
    np.testing.assert_array_equal(
        cpu.run(batch_of(*curves), DEFAULT)["dmdt"], reference.run(batch_of(*curves), DEFAULT)["dmdt"]
    )


def test_counts_are_those_of_light_curve():
    light_curve_package = pytest.importorskip("light_curve")
    options = {"dt_type": "asis", "dm_type": "asis", "norm": [], "n_jobs": 1}
    theirs = light_curve_package.DmDt(np.array(DT_EDGES), np.array(DM_EDGES), **options)
    for name in ("survey", "long", "on edges", "beyond 8 mag"):
        t, m = CURVES[name]
        # Their times must differ, and their last bins are open: no pair of these lies on those edges.
        t, m = t[np.append(True, np.diff(t) > 0)], m[np.append(True, np.diff(t) > 0)]
        np.testing.assert_array_equal(cpu.counts(batch_of((t, m)), DEFAULT)[0], theirs.points(t, m).T)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dt_edges": (1.0,)}, r"dt_edges=\[1.0\] makes no bin"),
        ({"dm_edges": ()}, r"dm_edges=\[\] makes no bin"),
        ({"dm_edges": (0.0, 1.0, 1.0)}, "dm_edges must ascend.*1 follows 1"),
        ({"dt_edges": (0.0, 3.0, 2.0)}, "dt_edges must ascend.*2 follows 3"),
        ({"dm_edges": (0.0, float("nan"), 2.0)}, "dm_edges must ascend"),
        ({"dm_edges": (0.0, float("inf"))}, "dm_edges must ascend.*finite"),
        ({"dt_edges": (-1.0, 2.0)}, "start at 0 or above"),
    ],
)
def test_edges_that_make_no_histogram_are_one_line(given, words):
    with pytest.raises(ConfigError, match=words) as caught:
        DmDtOptions(**given)
    assert "\n" not in str(caught.value)


def test_edges_are_configuration():
    assert len(DT_EDGES) == len(DM_EDGES) == 27
    given = build(DmDtOptions, {"dt_edges": [0, 1, 10]}, "features.dmdt")
    assert given == DmDtOptions(dt_edges=(0.0, 1.0, 10.0))
    assert given.shape == (26, 2)
    assert science_digest(given) != science_digest(DEFAULT)
    assert tables_of(DmDtOptions(dt_edges=[0, 1, 10])) is tables_of(given)
    with pytest.raises(ConfigError, match=r"features\.dmdt\.dt_edges"):
        build(DmDtOptions, {"dt_edges": [-1, 1, 10]}, "features.dmdt")
