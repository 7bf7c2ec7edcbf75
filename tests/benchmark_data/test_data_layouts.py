"""The readers on real light curves: the labelled sets and a raw bulk file of IRSA."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import FormatError, MissingColumnError
from scope_ml.io.lightcurves import open_light_curves
from scope_ml.io.tables import read_foreign_table

#: Sources, epochs and bands of each set, from the notes that come with the data.
SETS = {
    "acvs": (961, None, {"V"}),
    "asas": (609, 368_411, {"V"}),
    "crts_sss": (4141, 920_412, {"V"}),
    "debosscher_hip_ogle": (1023, 196_955, {"Hp", "I", "I_or_V?"}),
    "qso_ceph_lmc": (42, 35_377, {"I", "MACHO_1", "MACHO_2"}),
    "s82_rrlyrae": (240, None, {"u", "g", "r", "i", "z"}),
    "sn_ia_bts": (300, 9_746, {"g", "R", "i"}),  # the notes say g and R; a few epochs are i
    "ztf_named": (55, 90_408, {"g", "r", "i"}),
}


@pytest.mark.parametrize("name", list(SETS))
def test_labelled_set(benchmark_data, name):
    n_sources, n_epochs, bands = SETS[name]
    folder = benchmark_data / name
    source = open_light_curves(folder, chunk_sources=500)
    chunks = list(source.chunks())
    assert source.n_rows == n_sources
    assert len(chunks) == source.n_chunks
    ids, found_bands, seen, total = set(), set(), set(), 0
    for chunk in chunks:
        names, own = chunk.rows["id"].to_pylist(), chunk.rows["band"].to_pylist()
        assert names == chunk.batch.id.tolist()
        pairs = set(zip(names, own, strict=True))
        assert len(pairs) == len(names)
        assert not pairs & seen
        seen |= pairs
        ids |= set(names)
        found_bands |= set(own)
        total += chunk.batch.n_points
        assert (chunk.batch.time > 2_400_000).all()
        assert (chunk.batch.n_obs > 0).all()
    stored = sum(pc.sum(pq.read_table(path, columns=["n_epochs"])["n_epochs"]).as_py() for path in source.files)
    assert total == stored
    assert n_epochs in (None, total)
    assert found_bands == bands
    labels = set(read_foreign_table(folder / "labels.parquet", ["id"])["id"].to_pylist())
    assert ids == labels


def test_bands_of_the_named_stars_split_without_loss(benchmark_data):
    folder = benchmark_data / "ztf_named"
    table = pq.read_table(folder / "lightcurves.parquet")
    whole = LightCurveBatch.from_arrow(table, band="band")
    parts = [chunk for band in "gri" for chunk in open_light_curves(folder, bands=(band,)).chunks()]
    split = LightCurveBatch.concatenate([chunk.batch for chunk in parts])
    assert np.array_equal(np.sort(split.mag), np.sort(whole.mag))
    for chunk in parts:
        band = chunk.rows["band"][0].as_py()
        for light_curve in list(chunk.batch)[:5]:
            mixed = whole[whole.id.tolist().index(light_curve.id)]
            np.testing.assert_array_equal(light_curve.time, mixed.time[mixed.band == band])
            np.testing.assert_array_equal(light_curve.flags, mixed.flags[mixed.band == band])


def test_raw_bulk_file_of_irsa(benchmark_data):
    folder = benchmark_data / "ztf_field250"
    source = open_light_curves(folder)
    raw = pq.read_table(source.files[0])
    assert source.n_rows == raw.num_rows == 5449
    first = 0
    for chunk in source.chunks():
        stored = raw.slice(first, len(chunk.batch))
        assert chunk.batch.id.tolist() == stored["objectid"].to_pylist()
        assert chunk.batch.n_obs.tolist() == stored["nepochs"].to_pylist()
        hmjd = np.array(stored["hmjd"].combine_chunks().flatten().to_pylist())
        np.testing.assert_array_equal(chunk.batch.time, hmjd + 2400000.5)
        assert chunk.batch.mag.dtype == np.float32
        # Field, band, ccd and quadrant as the name of the file says: ztf_000250_zg_c01_q1.
        for column, value in {"field": 250, "band": "g", "ccd": 1, "quad": 1, "filter": 1}.items():
            assert pc.unique(chunk.rows[column]).to_pylist() == [value]
        first += len(chunk.batch)
    assert first == raw.num_rows


def test_what_is_no_light_curve_file_is_refused(benchmark_data):
    with pytest.raises(MissingColumnError, match="fits no light-curve layout"):
        open_light_curves(benchmark_data / "ztf_alerts")
    with pytest.raises(FormatError, match="holds no light-curve file"):
        open_light_curves(benchmark_data)
