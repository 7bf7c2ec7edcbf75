"""A new release: what has not changed is taken over, proven by digests, and the tables are those of a run without it."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import digest_file
from scope_ml.errors import FormatError
from scope_ml.features.crossmatch import crossmatch_columns
from scope_ml.features.quality import QualityFlag
from scope_ml.io.lightcurves import write_light_curves
from scope_ml.io.tables import read_table, write_table
from scope_ml.stages import feature_reuse, generate_features
from scope_ml.stages.feature_reuse import COMPUTED, digests_of, open_previous, reuse_facts, reuse_text
from scope_ml.stages.generate_features import GenerateFeatures, run

N = 24
FIRST_ID = 2**53 + 1
GROUPS = ("basic", "period", "fourier", "dmdt", "colour", "quality", "crossmatch")


def curves(*, changed=(), gone=(), short=(), points=40):
    """Return light curves of two quadrants and the facts about them; some with a point less, gone, or all but empty."""
    random = np.random.default_rng(0)
    numbers = [number for number in range(N) if number not in gone]
    lists = []
    for number in range(N):
        time = np.sort(random.uniform(2459000, 2459100, points))
        mag = 15 + 0.3 * np.sin(2 * np.pi * time / 0.7) + random.normal(0, 0.02, points)
        n = 5 if number in short else points - 1 if number in changed else points
        lists.append((time[:n], mag[:n], np.full(n, 0.02)))
    chosen = [lists[number] for number in numbers]
    batch = LightCurveBatch.from_lists(np.array(numbers) + FIRST_ID, *(list(one) for one in zip(*chosen, strict=True)))
    rows = pa.table(
        {
            "id": batch.id,
            "source_id": np.array(numbers) // 2,
            "band": [("g", "r")[number % 2] for number in numbers],
            "ra": 10.0 + 0.01 * (np.array(numbers) // 2),
            "dec": [4.0] * len(numbers),
            "field": [250] * len(numbers),
            "ccd": [1] * len(numbers),
            "quad": [1 + number // 16 for number in numbers],
        }
    )
    return batch, rows


def release(folder, **how):
    """Write a release of light curves."""
    write_light_curves(*curves(**how), folder / "curves.parquet")
    return folder / "curves.parquet"


def catalogue(folder, *, double=()):
    """Write a catalogue with a star at each light curve, two of them at some."""
    folder.mkdir(parents=True, exist_ok=True)
    at = [*range(N // 2), *double]
    fields = {spec.name.split("__")[1]: np.arange(len(at)) + 1.5 for spec in crossmatch_columns(("Gaia_EDR3",))[1:]}
    place = {"ra": 10.0 + 0.01 * np.array(at) + 1e-5 * (np.arange(len(at)) >= N // 2), "dec": [4.0] * len(at)}
    pq.write_table(pa.table({"_id": np.arange(len(at)), **place, **fields}), folder / "Gaia_EDR3.parquet")
    return folder


@pytest.fixture
def world(tmp_path):
    """Two releases, the tables of the first, and a catalogue."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    release(tmp_path / "old", short=(3,), gone=(20,))
    release(tmp_path / "new", changed=(5, 17), short=(3, 9), gone=(6,))
    catalogue(tmp_path / "sky")
    return tmp_path


def generate(world, name, output, *, many=True, sky="sky", **options):
    (world / "list.txt").write_text("250 1 1\n250 1 2\n")
    values = {
        "source": {"path": str(world / name / "curves.parquet")},
        "output": str(world / output),
        "target": {"kind": "quadrant_list", "path": str(world / "list.txt")} if many else {},
        "catalogs": {"path": str(world / sky)},
        "crossmatch": {"catalogs": ["Gaia_EDR3"]},
        "cleaning": {"min_n_obs": 30, "min_cadence_minutes": 0},
        "period_search": {"method": "ls", "max_frequency": 1.0, "samples_per_peak": 3},
        "features": {"groups": list(GROUPS)},
        "machine": {"workers": 1, "device": "cpu", "max_batch_sources": 5},
        **options,
    }
    return run(build(GenerateFeatures, values), progress=NullProgress())


def outputs(folder):
    """Return the bytes of all that counts as result."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(".log.jsonl"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def measured(monkeypatch):
    """Return the ids that were measured, as they are."""
    ids = []
    extract = feature_reuse.extract_features

    def spy(batch, *given, **named):
        ids.extend((batch.id - FIRST_ID).tolist())
        return extract(batch, *given, **named)

    monkeypatch.setattr(feature_reuse, "extract_features", spy)
    return ids


def test_a_new_release_measures_what_changed_and_ends_with_the_same_bytes(world, measured):
    generate(world, "old", "before")
    generate(world, "new", "whole")
    measured.clear()
    report = generate(world, "new", "again", previous=str(world / "before"))
    assert outputs(world / "again") == outputs(world / "whole")
    # 5 and 17 have a point less, 20 is new; 3 and 9 are too short, 6 is gone.
    assert sorted(measured) == [5, 17, 20]
    assert (report.n_in, report.n_out) == (N - 1, N - 3)
    assert (report.facts["n_kept"], report.facts["n_computed"]) == (N - 6, 3)
    assert report.facts["computed"] == {"changed": 2, "new": 1}
    assert report.facts["text"] == (
        "18 light curves took their features over, proven by their digests; 3 were measured (2 changed, 1 new)"
    )
    assert report.warnings == ()


def test_one_table_likewise_and_onto_itself(world, measured):
    generate(world, "old", "before/f.parquet", many=False)
    generate(world, "new", "whole/f.parquet", many=False)
    shutil.copytree(world / "before", world / "onto")
    for where, previous in (("again", "before/f.parquet"), ("named", "before"), ("onto", "onto/f.parquet")):
        measured.clear()
        generate(world, "new", f"{where}/f.parquet", many=False, previous=str(world / previous))
        assert sorted(measured) == [5, 17, 20]
        assert outputs(world / where) == outputs(world / "whole")


def test_a_folder_takes_over_what_stands_there(world, measured):
    generate(world, "old", "tables")
    generate(world, "new", "whole")
    measured.clear()
    (world / "old" / "curves.parquet").write_bytes((world / "new" / "curves.parquet").read_bytes())
    report = generate(world, "old", "tables")
    assert sorted(measured) == [5, 17, 20]
    assert outputs(world / "tables") == outputs(world / "whole")
    assert "2 quadrants had other light curves than now and were made again" in report.warnings[0]
    assert report.facts["n_kept"] == N - 6
    again = generate(world, "old", "tables")
    assert (again.facts["n_quadrants_finished_before"], again.facts["n_finished_before"]) == (2, N - 3)
    assert (again.facts["n_kept"], again.facts["n_computed"]) == (0, 0), "nothing was taken over: nothing was made"
    assert again.facts["text"] == f"{N - 3} light curves stand in tables that were finished before"


def test_what_lies_around_is_looked_up_again(world, measured):
    generate(world, "old", "before")
    catalogue(world / "sky2", double=(0, 3))
    generate(world, "old", "whole", sky="sky2")
    measured.clear()
    generate(world, "old", "again", sky="sky2", previous=str(world / "before"))
    assert measured == []
    assert outputs(world / "again") == outputs(world / "whole")
    name = "field_000250/ccd_01_quad_1.parquet"
    blended = [
        np.asarray(read_table(world / folder / name).data["quality"]) & QualityFlag.BLENDED > 0
        for folder in ("before", "again")
    ]
    assert [one.sum() for one in blended] == [0, 4]
    # The other way round a flag is taken away.
    generate(world, "old", "back", sky="sky", previous=str(world / "again"))
    assert outputs(world / "back") == outputs(world / "before")


def test_new_catalogues_in_place_are_stale_and_cost_no_search(world, measured):
    generate(world, "old", "tables")
    catalogue(world / "sky", double=(0,))
    refused = generate(world, "old", "tables")
    assert "is stale: made with other catalogues (" in refused.facts["failed"][0]
    measured.clear()
    generate(world, "old", "tables", stale="remake")
    assert measured == []
    generate(world, "old", "whole")
    assert outputs(world / "tables") == outputs(world / "whole")


def altered(path):
    """Change one value of a table, all else as it was."""
    table = read_table(path)
    skew = np.asarray(table.data["skew"]).copy()
    skew[0] += 1e-9
    at = table.data.column_names.index("skew")
    write_table(table.data.set_column(at, table.data.schema.field(at), pa.array(skew)), path, table.metadata)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (altered, "altered"),
        (lambda path: path.with_name(f"{path.name}.light_curves.parquet").unlink(), "no_digests"),
        (lambda path: path.with_name(f"{path.name}.light_curves.parquet").write_bytes(b"PAR1"), "no_digests"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "no_digests"),
        (lambda path: path.unlink(), "no_table"),
    ],
)
def test_nothing_is_believed(world, measured, harm, reason):
    generate(world, "old", "before")
    generate(world, "new", "whole")
    harm(world / "before" / "field_000250" / "ccd_01_quad_1.parquet")
    measured.clear()
    report = generate(world, "new", "again", previous=str(world / "before"))
    assert sorted(measured) == [number for number in range(16) if number not in (3, 6, 9)] + [17, 20]
    assert outputs(world / "again") == outputs(world / "whole")
    assert report.facts["computed"] == {reason: 13, "changed": 1, "new": 1}
    told = [line for line in report.warnings if line.startswith("13 light curves were measured again: they")]
    assert [COMPUTED[reason] in line for line in told] == ([] if reason == "no_table" else [True])


@pytest.mark.parametrize(
    "options",
    [
        {"cleaning": {"min_n_obs": 30, "min_cadence_minutes": 100}},
        {"period_search": {"method": "ls", "max_frequency": 1.0, "samples_per_peak": 4}},
        {"names": "legacy"},
        {"features": {"groups": list(GROUPS[:-1])}},
    ],
)
def test_features_of_other_options_are_not_taken_over(world, options):
    generate(world, "old", "before")
    generate(world, "old", "whole", **options)
    report = generate(world, "old", "again", previous=str(world / "before"), **options)
    assert report.facts["n_kept"] == 0
    assert set(report.facts["computed"]) == {"other_options"}
    assert outputs(world / "again") == outputs(world / "whole")


def test_features_of_other_code_are_not_taken_over(world, monkeypatch):
    generate(world, "old", "before")
    monkeypatch.setattr(generate_features, "code_digest", lambda *_: "another")
    report = generate(world, "old", "again", previous=str(world / "before"))
    assert (report.facts["n_kept"], set(report.facts["computed"])) == (0, {"other_options"})


def test_a_light_curve_that_was_dropped_before_is_measured(world, measured):
    generate(world, "old", "before", cleaning={"min_n_obs": 40, "min_cadence_minutes": 0})
    (world / "drop.csv").write_text(f"id\n{FIRST_ID + 8}\n")
    spoilt = {
        "catalogs": {"path": str(world / "sky"), "bright_stars": str(world / "drop.csv")},
        "cleaning": {"min_n_obs": 40, "min_cadence_minutes": 0, "bright_star_exclusion": "precomputed"},
    }
    generate(world, "old", "without", **spoilt)
    measured.clear()
    cleaning = {"min_n_obs": 40, "min_cadence_minutes": 0}
    report = generate(world, "old", "again", previous=str(world / "without"), cleaning=cleaning)
    assert measured == [8]
    assert report.facts["computed"] == {"dropped_before": 1}
    assert outputs(world / "again") == outputs(world / "before")


def test_a_release_that_does_not_exist_is_named(world):
    with pytest.raises(FormatError, match=r"previous=.*nowhere does not exist; give the feature table"):
        generate(world, "new", "again", previous=str(world / "nowhere"))
    assert not (world / "again").exists()


def test_the_digests_say_what_became_of_every_light_curve(world):
    generate(world, "old", "f.parquet", many=False)
    seen = read_table(world / "f.parquet.light_curves.parquet", kind="light_curve_digests")
    batch, rows = curves(short=(3,), gone=(20,))
    assert seen.data["id"].to_pylist() == batch.id.tolist()
    assert [became for became in seen.data["became"].to_pylist() if became != "kept"] == ["too_few_points"]
    assert seen.data["became"][3].as_py() == "too_few_points"
    assert seen.metadata.inputs[1].digest == digest_file(world / "f.parquet")
    assert len(set(seen.data["digest"].to_pylist())) == rows.num_rows
    found = open_previous(world / "f.parquet", seen.metadata.facts["measured_with"])
    at, said = found.found(seen.data["digest"], rows)
    assert at.tolist() == [0, 1, 2, -1, *range(3, N - 2)]
    assert said == ["kept"] * 3 + ["dropped_before"] + ["kept"] * (N - 5)
    assert open_previous(world / "f.parquet", "other").useless == "other_options"
    # Any order, over several row groups and twice the same.
    rows_wanted = np.array([7, 0, 7, 19, 3])
    taken = found.take(rows_wanted, ["id", "median"])
    assert taken.equals(read_table(world / "f.parquet").data.select(["id", "median"]).take(pa.array(rows_wanted)))


ALL_FACTS = ("id", "source_id", "band", "ra", "dec", "field", "ccd", "quad", "filter")


@pytest.mark.parametrize("name", [*ALL_FACTS, "time", "mag", "mag_err", "flags", "programid", "order", "type"])
def test_a_digest_sees_every_point_and_fact(name):
    batch, rows = curves()
    rows = rows.append_column("filter", pa.array([1] * N))
    flags = {"flags": np.zeros(batch.n_points, np.int16), "programid": np.ones(batch.n_points, np.int8)}
    columns = {one: getattr(batch, one) for one in ("id", "offsets", "time", "mag", "mag_err")} | flags
    before = digests_of(LightCurveBatch(**columns), rows)
    assert digests_of(LightCurveBatch(**columns), rows).equals(before)
    at = int(batch.offsets[4])
    if name in ALL_FACTS:
        values = rows[name].to_pylist()
        values[4] = {"band": "i", "ra": np.nextafter(rows["ra"][4].as_py(), 99)}.get(
            name, (values[4] or 0) + 1 if name != "band" else 0
        )
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, rows[name].type))
    elif name == "order":
        for one in ("time", "mag", "mag_err"):
            columns[one] = columns[one].copy()
            columns[one][[at, at + 1]] = columns[one][[at + 1, at]]
    elif name == "type":
        columns |= {one: columns[one].astype(np.float32) for one in ("mag", "mag_err")}
    else:
        columns[name] = columns[name].copy()
        columns[name][at] = np.nextafter(columns[name][at], 1e9) if columns[name].dtype.kind == "f" else 2
    after = digests_of(LightCurveBatch(**columns), rows).to_pylist()
    differ = [one for one, (old, new) in enumerate(zip(before.to_pylist(), after, strict=True)) if old != new]
    assert differ == (list(range(N)) if name == "type" else [4])


def test_counts_of_reuse():
    facts = {"n_kept": 3, "n_computed": 2, "computed": {"new": 2}, "n_finished_before": 0}
    assert reuse_facts({"kept": 3, "new": 2, "changed": 0}) == facts
    assert reuse_text({"kept": 3, "new": 2}).endswith("; 2 were measured (2 new)")
    assert reuse_text({"kept": 3, "finished": 4}).endswith("; 4 light curves stand in tables that were finished before")
    assert reuse_text({"no_table": 3}) is None
