from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.features.colour import ColourIndex

NAN = float("nan")


def rows(*stars, id_name="id"):
    """Rows (id, source_id, band, ra, dec, median, n_obs) with empty colours."""
    columns = list(zip(*stars, strict=True)) if stars else [()] * 7
    return pa.table(
        {
            id_name: pa.array(columns[0], pa.int64()),
            "source_id": pa.array(columns[1], pa.int64()),
            "band": pa.array(columns[2], pa.string()),
            "ra": pa.array(columns[3], pa.float64()),
            "dec": pa.array(columns[4], pa.float64()),
            "median": pa.array(columns[5], pa.float64()),
            "n_obs": pa.array(columns[6], pa.int32()),
            "colour_g_r": pa.array(np.full(len(stars), NAN)),
            "colour_r_i": pa.array(np.full(len(stars), NAN)),
        }
    )


def colours(table, pieces=1, radius=1.5):
    index = ColourIndex(radius)
    edges = np.linspace(0, table.num_rows, pieces + 1).astype(int)
    parts = [table.slice(a, b - a) for a, b in pairwise(edges)]
    for part in parts:
        index.add(part)
    filled = pa.concat_tables([index.fill(part, int(first)) for part, first in zip(parts, edges[:-1], strict=True)])
    assert filled.schema.equals(table.schema)
    for name in table.column_names[:-2]:
        assert repr(filled[name].to_pylist()) == repr(table[name].to_pylist())
    return filled["colour_g_r"].to_numpy(), filled["colour_r_i"].to_numpy()


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_a_star_named_by_the_file_has_one_colour_in_all_bands(pieces):
    table = rows(
        (1, 7, "g", 10.0, 0.0, 16.0, 90),
        (2, 8, "r", 10.0, 0.0, 14.0, 90),
        (3, 7, "i", 10.0, 0.0, 15.1, 90),
        (4, 9, None, 10.0, 0.0, 13.0, 90),
        (5, 7, "r", 10.0, 0.0, 15.5, 90),
    )
    g_r, r_i = colours(table, pieces)
    np.testing.assert_allclose(g_r, [0.5, NAN, 0.5, NAN, 0.5])
    np.testing.assert_allclose(r_i, [0.4, NAN, 0.4, NAN, 0.4])


def test_of_two_light_curves_in_a_band_the_one_with_more_points_counts_but_for_itself():
    table = rows(
        (1, 7, "g", 1.0, 0.0, 16.0, 50),
        (2, 7, "g", 1.0, 0.0, 16.2, 80),
        (3, 7, "r", 1.0, 0.0, 15.5, 60),
        (4, 7, "g", 1.0, 0.0, 16.9, 80),
    )
    np.testing.assert_allclose(colours(table)[0], [0.5, 0.7, 0.7, 1.4])


def test_where_no_star_is_named_the_nearest_of_another_band_counts():
    arcsec = 1 / 3600
    table = rows(
        (1, 1, "zg", 0.2 * arcsec, 89.0, 16.0, 50),
        (2, 2, "zr", 360.0 - 20 * arcsec, 89.0, 15.5, 50),
        (3, 3, "zr", 0.4 * arcsec, 89.0 + 1.2 * arcsec, 15.0, 50),
        (4, 4, "zr", 180.0, -30.0, 12.0, 50),
        (5, 5, "zi", NAN, NAN, 12.0, 50),
    )
    g_r, r_i = colours(table)
    np.testing.assert_allclose(g_r, [0.5, 0.5, 1.0, NAN, NAN])
    assert np.isnan(r_i).all()


def test_stars_without_name_have_no_colour_of_others():
    table = rows((1, None, "g", 1.0, 0.0, 16.0, 50), (2, None, "r", 1.0, 0.0, 15.0, 50), (3, 4, "r", 1.0, 0.0, 15.0, 5))
    assert np.isnan(colours(table)[0]).all()


def test_scope_s_names_and_no_rows():
    table = rows((1, 7, "g", 1.0, 0.0, 16.0, 50), (2, 7, "r", 1.0, 0.0, 15.0, 50), id_name="_id")
    np.testing.assert_allclose(colours(table)[0], [1.0, 1.0])
    assert colours(rows())[0].shape == (0,)
    assert ColourIndex(1.0).fill(rows(), 0).num_rows == 0
