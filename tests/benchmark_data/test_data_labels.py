"""Labels of the real data sets: all are read, closed upward as their README says, and counted as it counts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.provenance import TableMetadata
from scope_ml.datasets.assemble import assemble
from scope_ml.datasets.labels import Labels, read_labels
from scope_ml.io.tables import write_table
from scope_ml.taxonomy import load_classes, packaged_conf_dir

DATA = os.environ.get("SCOPE_BENCHMARK_DATA", "")
pytestmark = pytest.mark.skipif(not DATA, reason="SCOPE_BENCHMARK_DATA is not set (a folder of real data sets)")

TAXONOMY = load_classes(packaged_conf_dir())

#: Sources of each set, by its README.
SETS = {
    **{"asas": 609, "crts_sss": 4141, "debosscher_hip_ogle": 1023, "acvs": 961, "s82_rrlyrae": 240},
    **{"ztf_named": 55, "sn_ia_bts": 300, "qso_ceph_lmc": 42},
}


def labels_of(name: str) -> tuple[Path, Labels]:
    path = Path(DATA) / name / "labels.parquet"
    return path, read_labels(path, TAXONOMY)


def numbers(labels: Labels, tag: str) -> tuple[int, int, int]:
    """Positives, negatives, unknown."""
    column = TAXONOMY.index(tag)
    y, known = labels.y[:, column] == 1, labels.known[:, column]
    return int((y & known).sum()), int((~y & known).sum()), int((~known).sum())


@pytest.mark.parametrize(("name", "n_sources"), SETS.items())
def test_every_set_is_read_and_child_implies_parent_in_every_row(name, n_sources):
    path, labels = labels_of(name)
    assert len(labels) == n_sources
    assert set(labels.origin) != {""}
    for tag in TAXONOMY.tags:
        child = labels.y[:, TAXONOMY.index(tag)] == 1
        for parent in TAXONOMY.parents(tag):
            assert (labels.y[child, TAXONOMY.index(parent)] == 1).all(), (tag, parent)
    # The closure adds nothing: the sets were closed upward with the same implications.
    table = pq.read_table(path)
    raw = np.stack([table[tag].to_numpy() for tag in TAXONOMY.tags], axis=1)
    np.testing.assert_array_equal(labels.y, raw)


@pytest.mark.parametrize("name", SETS)
def test_uncertain_tags_are_unknown_and_all_others_known(name):
    path, labels = labels_of(name)
    for row, text in enumerate(pq.read_table(path)["uncertain_tags"].to_pylist()):
        listed = {tag for tag in (text or "").split(",") if tag}
        assert {TAXONOMY.tags[column] for column in np.flatnonzero(~labels.known[row])} == listed, labels.id[row]


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        # asas: RRab 64 + RRc 22 + RRd 2; all other sources are none.
        ("asas", "rrlyr", (88, 521, 0)),
        # asas: 51 semiregulars; stars with long secondary periods (40) and red supergiants (26) are undecided.
        ("asas", "srv", (51, 492, 66)),
        ("crts_sss", "rrab", (577, 3564, 0)),
        # crts_sss: 'contact or semi-detached' is EW by default but undecided in all 599 sources.
        ("crts_sss", "ew", (0, 3542, 599)),
        ("crts_sss", "ea", (600, 3541, 0)),
        ("debosscher_hip_ogle", "ceph", (191, 832, 0)),
        ("acvs", "eb", (164, 797, 0)),
        ("s82_rrlyrae", "rrab", (188, 52, 0)),
        # ztf_named: undecided in 3 white dwarfs with main-sequence stars and 1 'periodic/transit'.
        ("ztf_named", "ea", (34, 17, 4)),
        ("sn_ia_bts", "vnv", (300, 0, 0)),
        ("sn_ia_bts", "fla", (0, 0, 300)),
        ("qso_ceph_lmc", "agn", (30, 12, 0)),
    ],
)
def test_counts_are_those_of_the_readme(name, tag, expected):
    assert numbers(labels_of(name)[1], tag) == expected


def test_all_sets_together_are_divided_by_star_with_every_class_in_every_part(tmp_path):
    names = [name for name in SETS if name != "ztf_named"]
    paths = []
    for name in names:
        ids = pq.read_table(Path(DATA) / name / "labels.parquet", columns=["id"])
        # Two bands a star stand in for the features, which other tests measure.
        table = pa.table({"id": pa.concat_arrays([ids["id"].combine_chunks()] * 2), "band": ["g", "r"] * len(ids)})
        paths.append(tmp_path / f"{name}.parquet")
        write_table(table, paths[-1], TableMetadata(kind="features"))
    label_paths = [Path(DATA) / name / "labels.parquet" for name in names]
    dataset, split = assemble(paths, label_paths, TAXONOMY, origins=names)
    n_sources = sum(SETS[name] for name in names)
    assert len(dataset) == 2 * n_sources
    # Stars of two sets at one place are one; the README's 30 arcsec cleaning left few of them.
    assert 0.99 * n_sources < dataset.n_stars <= n_sources
    first = np.unique(dataset.group, return_index=True)[1]
    assert np.bincount(split.part[first]).tolist() == [
        dataset.n_stars - round(0.2 * dataset.n_stars) - round(0.15 * dataset.n_stars),
        round(0.15 * dataset.n_stars),
        round(0.2 * dataset.n_stars),
    ]
    for tag in TAXONOMY.tags:
        y, known = dataset.column(tag)
        stars, parts = dataset.group[(y == 1) & known], split.part[(y == 1) & known]
        if len(set(stars.tolist())) >= 3:
            assert set(parts.tolist()) == {0, 1, 2}, tag
