"""The split: whole stars, right sizes, every class in every part, the same for every order of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.datasets.split import PARTS, Split, SplitConfig, grouped_stratified_split
from scope_ml.errors import ConfigError, DataError, InsufficientDataError


def survey(n_stars=400, shares=(0.5, 0.2, 0.05, 0.02, 0.01), rows=3, seed=0):
    """Stars of `rows` light curves each and nested as well as rare classes."""
    rng = np.random.default_rng(seed)
    member = rng.random((n_stars, len(shares))) < np.array(shares)
    member[:, 1] &= member[:, 0]
    group = np.repeat(np.arange(n_stars), rows)
    y = np.repeat(member, rows, axis=0).astype(np.int8)
    return y, np.ones(y.shape, bool), group, member


def star_parts(split, group):
    parts = {}
    for star, part in zip(group.tolist(), split.part.tolist(), strict=True):
        parts.setdefault(star, set()).add(part)
    return parts


def test_all_rows_of_a_star_are_in_one_part():
    y, known, group, _ = survey()
    split = grouped_stratified_split(y, known, group)
    assert all(len(parts) == 1 for parts in star_parts(split, group).values())


@pytest.mark.parametrize(("test_size", "val_size"), [(0.2, 0.15), (0.1, 0.1), (0.5, 0.25), (0.0, 0.2), (0.2, 0.0)])
def test_the_sizes_are_the_shares_of_the_stars(test_size, val_size):
    y, known, group, _ = survey(n_stars=437, rows=1)
    split = grouped_stratified_split(y, known, group, SplitConfig(test_size=test_size, val_size=val_size))
    counts = np.bincount(split.part, minlength=3)
    assert counts[2] == round(437 * test_size)
    assert counts[1] == round(437 * val_size)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), n_stars=st.integers(12, 90), n_classes=st.integers(2, 7))
def test_sizes_hold_and_classes_of_three_or_more_stars_are_trained(seed, n_stars, n_classes):
    rng = np.random.default_rng(seed)
    y, known, group, member = survey(n_stars, tuple(rng.uniform(0.02, 0.4, n_classes)), rows=2, seed=seed)
    split = grouped_stratified_split(y, known, group, SplitConfig(seed=seed))
    star_part = split.part[::2]
    assert (np.bincount(star_part, minlength=3)[1:] == [round(n_stars * 0.15), round(n_stars * 0.2)]).all()
    for column in np.flatnonzero(member.sum(axis=0) >= 3):
        assert (star_part[member[:, column]] == 0).any()


def test_rare_classes_have_a_star_in_every_part():
    y, known, group, member = survey(n_stars=600, shares=(0.5, 0.2, 0.03, 0.012, 0.008, 0.008))
    # Exactly three stars, each alone in its stratum but for the fourth class.
    member[:, 5] = False
    member[[10, 20, 30], 5] = True
    y[:, 5] = np.repeat(member[:, 5], 3)
    for seed in range(8):
        split = grouped_stratified_split(y, known, group, SplitConfig(seed=seed))
        star_part = split.part[::3]
        for column in range(member.shape[1]):
            assert set(star_part[member[:, column]].tolist()) == {0, 1, 2}, (seed, column)


def test_every_class_and_origin_is_divided_in_proportion():
    y, known, group, member = survey(n_stars=3000, shares=(0.5, 0.2, 0.05), rows=1)
    origin = np.where(np.arange(3000) % 4 == 0, "asas", "crts")
    split = grouped_stratified_split(y, known, group, origin=origin)
    for mask in (member[:, 0], member[:, 1], member[:, 2], origin == "asas"):
        # Systematic sampling is off by at most about one star a stratum.
        assert abs((split.part[mask] == 2).mean() - 0.2) < 8 / mask.sum()


def test_the_order_of_rows_does_not_matter_and_the_seed_does():
    y, known, group, _ = survey()
    order = np.random.default_rng(5).permutation(len(group))
    split = grouped_stratified_split(y, known, group)
    shuffled = grouped_stratified_split(y[order], known[order], group[order])
    np.testing.assert_array_equal(shuffled.part, split.part[order])
    again = grouped_stratified_split(y, known, group)
    assert again.digest == split.digest
    other = grouped_stratified_split(y, known, group, SplitConfig(seed=43))
    assert other.digest != split.digest
    assert (other.part != split.part).any()


def test_unknown_labels_do_not_count_as_members():
    y, known, group, _ = survey(n_stars=60, shares=(0.3, 0.3), rows=1)
    masked = known.copy()
    masked[:, 1] = False
    without = grouped_stratified_split(y[:, :1], known[:, :1], group)
    np.testing.assert_array_equal(grouped_stratified_split(y, masked, group).part, without.part)


def test_masks_and_rows_divide_the_table():
    y, known, group, _ = survey(n_stars=40)
    split = grouped_stratified_split(y, known, group)
    assert sum(split.mask(part).astype(int) for part in PARTS).tolist() == [1] * len(group)
    np.testing.assert_array_equal(split.rows("val"), np.flatnonzero(split.part == 1))


def test_a_split_is_saved_with_its_options_and_belongs_to_its_data_set(tmp_path):
    y, known, group, _ = survey(n_stars=40)
    split = grouped_stratified_split(y, known, group, SplitConfig(seed=7))
    split.save(tmp_path, of="digest of the data set")
    loaded = Split.load(tmp_path, of="digest of the data set")
    np.testing.assert_array_equal(loaded.part, split.part)
    assert loaded.config == split.config
    assert loaded.digest == split.digest
    with pytest.raises(DataError, match="split of another data set"):
        Split.load(tmp_path, of="another")


def test_too_few_stars_and_too_large_shares_are_refused():
    y, known = np.ones((6, 2), np.int8), np.ones((6, 2), bool)
    with pytest.raises(InsufficientDataError, match=r"has 1 star"):
        grouped_stratified_split(y, known, np.zeros(6, np.int64))
    with pytest.raises(ConfigError, match="leave nothing for training"):
        SplitConfig(test_size=0.6, val_size=0.4)
