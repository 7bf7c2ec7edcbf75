from __future__ import annotations

import numpy as np
import pytest

from scope_ml.kernels.phase_bins.cpu import block_size, empty_block, fill_bins

#: Bound of the accumulators' error, in cycles.
BOUND = 2.0**-24


def exact_phase(time, frequency, step, n_frequencies):
    """Phases in extended precision, of the frequencies as float64 gives them."""
    trial = (frequency + step * np.arange(n_frequencies)).astype(np.longdouble)
    return np.multiply.outer(time.astype(np.longdouble), trial) % 1.0


@pytest.mark.parametrize("n_bins", [2, 3, 8, 10, 20, 32, 50, 64])
@pytest.mark.parametrize(
    ("baseline", "frequency"), [(30.0, 0.07), (1826.0, 0.0011), (1826.0, 47.9), (3652.0, 17.3), (3652.0, 479.7)]
)
def test_bins_are_exact_away_from_edges(n_bins, baseline, frequency):
    random = np.random.default_rng(n_bins)
    time = np.append(0.0, np.sort(random.uniform(0, baseline, 150)))
    step = 1 / (10 * 1.0137 * baseline)
    bins = np.empty((time.size, 960), dtype=np.uint8)
    fill_bins(time, frequency, step, n_bins, bins)
    phase = exact_phase(time, frequency, step, 960) * n_bins
    wrong = bins != np.floor(phase)
    # Points may fall into the bin next door, and only from within the bound.
    assert wrong.mean() < 4 * n_bins * BOUND + 2 / wrong.size
    distance = np.abs(phase - np.rint(phase))[wrong] / n_bins
    assert distance.size == 0 or distance.max() <= BOUND
    assert bins.max() < n_bins
    assert not bins[0].any()


@pytest.mark.parametrize("n_bins", [2, 4, 20, 64])
def test_phases_that_are_exact_fall_into_the_upper_bin(n_bins):
    # Whole days and multiples of 1/256 per day: every product is exact, and many lie on an edge.
    time = np.arange(0.0, 3000.0, 7.0)
    bins = np.empty((time.size, 576), dtype=np.uint8)
    fill_bins(time, 5.0, 1 / 256, n_bins, bins)
    phase = np.multiply.outer(time, 5.0 + np.arange(576) / 256) % 1.0
    np.testing.assert_array_equal(bins, np.floor(phase * n_bins))


def test_a_row_does_not_depend_on_the_others_nor_on_the_block():
    random = np.random.default_rng(3)
    time = random.uniform(0, 2000, 40)
    whole = np.empty((40, 704), dtype=np.uint8)
    fill_bins(time, 11.0, 3e-5, 20, whole)
    order = random.permutation(40)
    part = np.full((40, 64), 255, dtype=np.uint8)
    fill_bins(time[order], 11.0, 3e-5, 20, part)
    np.testing.assert_array_equal(part, whole[order, :64])


def test_errors_do_not_pile_up_over_a_block():
    # The accumulator starts anew every 512 frequencies at the latest; without that the last ones would be worse.
    time = np.random.default_rng(5).uniform(0, 3652, 4000)
    bins = np.empty((time.size, 960), dtype=np.uint8)
    step = 1 / (10 * 1.0137 * 3652)
    fill_bins(time, 400.0, step, 64, bins)
    wrong = bins != np.floor(exact_phase(time, 400.0, step, 960) * 64)
    assert wrong[:, 448:512].mean() < 64 * BOUND
    assert wrong[:, 896:].mean() < 64 * BOUND


@pytest.mark.parametrize("n_obs", [1, 3, 50, 200, 466, 1000, 1500, 5000, 100_000])
def test_blocks_fit_and_are_aligned(n_obs):
    block = block_size(n_obs)
    assert 320 <= block <= 960
    assert block % 128 == 64
    assert block == 320 or n_obs * block <= 448 * 1024
    memory = empty_block(n_obs)
    assert memory.shape == (n_obs, block)
    assert memory.flags.c_contiguous
    assert memory.ctypes.data % 64 == 0
