"""Targets: what each kind needs, lists of quadrants, and sources asked for one by one, all accounted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from scope_ml.core.configuration import build
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import ConfigError, DataError, EmptySelectionError, FormatError, MissingColumnError, SchemaError
from scope_ml.io.lightcurves import open_light_curves
from scope_ml.io.tables import write_table
from scope_ml.stages.feature_targets import NEEDS, TargetConfig, resolve_targets

BIG = 2**53
ARCSEC = 1 / 3600


def targets_of(kind, output="out", **given):
    return resolve_targets(build(TargetConfig, {"kind": kind, **given}), Path(output))


def listed(tmp_path, text, name="slurm.dat", **given):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return targets_of("quadrant_list", path=str(path), **given)


def quadrants(targets):
    return [(one.field, one.ccd, one.quad) for one in targets]


def request_of(tmp_path, table, name="sources.parquet", **given):
    path = tmp_path / name
    if isinstance(table, str):
        path.write_text(table)
    elif name.endswith(".parquet"):
        pq.write_table(table, path)
    else:
        write_table(table, path, TableMetadata(kind="sources"))
    (target,) = targets_of("source_ids", path=str(path), output="out.parquet", **given)
    assert target.selection is target.request.selection
    return target.request


def accounted(request, rows):
    """Return the accounting, after checking that it adds up and does not depend on the pieces of `rows`."""
    found = request.account(rows)
    assert found.asked == found.duplicates + found.found + found.not_found.num_rows
    pieces = np.zeros(request.sources.num_rows, dtype=bool)
    for start in range(rows.num_rows):
        pieces |= request.found(rows.slice(start, 1))
    assert request.account(pieces).not_found.equals(found.not_found)
    return found


@pytest.mark.parametrize("kind", NEEDS)
def test_each_kind_has_a_file(root, kind):
    values = OmegaConf.to_container(OmegaConf.load(root / "conf" / "target" / f"{kind}.yaml"))
    if kind == "all":
        assert build(TargetConfig, values) == TargetConfig()
        assert set(values) == set(TargetConfig.__dataclass_fields__)
        return
    assert values.pop("defaults") == ["all", "_self_"]
    assert values["kind"] == kind
    assert tuple(name for name, value in values.items() if value == "???") == NEEDS[kind]
    given = {name: "x" if name == "path" else 1 for name in NEEDS[kind]}
    assert build(TargetConfig, values | given).kind == kind


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"kind": "quadrant", "field": 250, "quad": 1},
            r"target=quadrant needs target\.ccd; type target\.ccd=1 \(1 to 16\)",
        ),
        ({"kind": "field"}, r"target=field needs target\.field; type target\.field=250"),
        ({"kind": "quadrant_list"}, r"needs target\.path; type target\.path=FILE"),
        ({"kind": "source_ids", "path": ""}, r"needs target\.path"),
        (
            {"field": 250},
            r"target=all takes no target\.field; leave it out, or type target=quadrant or target=field$",
        ),
        ({"kind": "field", "field": 250, "ccd": 1}, r"target=field takes no target\.ccd; .* type target=quadrant$"),
        (
            {"kind": "source_ids", "path": "x", "index": 0},
            r"takes no target\.index; .* target=field or target=quadrant_list",
        ),
        ({"kind": "quadrant_list", "path": "x", "radius_arcsec": 1}, r"takes no target\.radius_arcsec"),
        ({"kind": "quadrant", "field": 1, "ccd": 17, "quad": 1}, r"target\.ccd=17 is not .* at least 1 and at most 16"),
        ({"kind": "quadrant", "field": 1, "ccd": 1, "quad": 0}, r"target\.quad=0 is not"),
        ({"kind": "quad"}, r"target\.kind='quad' is not one of all, quadrant, field"),
    ],
)
def test_what_is_missing_or_superfluous(given, message):
    with pytest.raises(ConfigError, match=message):
        build(TargetConfig, given, "target")


def test_all_and_quadrant_are_one_table():
    (one,) = targets_of("all", "t.parquet")
    assert (one.name, one.output, one.field, one.request) == ("all", Path("t.parquet"), None, None)
    assert one.selection.everything
    targets = targets_of("quadrant", "t.csv", field=250, ccd=1, quad=2)
    (one,) = targets
    assert (one.name, one.output, quadrants([one])) == ("field 250 ccd 1 quad 2", Path("t.csv"), [(250, 1, 2)])
    assert one.selection.constant == {"field": 250, "ccd": 1, "quad": 2}
    assert not targets.many


def test_field_has_64_quadrants():
    targets = targets_of("field", "tables", field=250)
    assert targets.many
    assert len(targets) == 64
    assert len({one.selection.digest for one in targets}) == 64
    names = [str(one.output) for one in targets]
    assert names == sorted(set(names))
    assert names[0] == "tables/field_000250/ccd_01_quad_1.parquet"
    assert names[-1] == "tables/field_000250/ccd_16_quad_4.parquet"
    (one,) = targets_of("field", "tables", field=250, index=5)
    assert str(one.output) == names[5] == "tables/field_000250/ccd_02_quad_2.parquet"
    # The same quadrant is the same target, however it was asked for.
    assert one.selection.digest == targets_of("quadrant", field=250, ccd=2, quad=2)[0].selection.digest
    for index in (64, -1):
        with pytest.raises(
            ConfigError, match=rf"target\.index={index} is none of field 250: it has 64 quadrants, numbered 0"
        ):
            targets_of("field", field=250, index=index)


def test_many_tables_need_a_folder(tmp_path):
    for output in ("t.parquet", "t.h5", "t.csv"):
        with pytest.raises(ConfigError, match=rf"output={output} cannot be a file; give a folder, such as output=t$"):
            targets_of("field", output, field=250)
        with pytest.raises(ConfigError, match="target=quadrant_list makes one table a quadrant"):
            listed(tmp_path, "250 1 1\n", output=output, index=0)
    (tmp_path / "there").touch()
    with pytest.raises(ConfigError, match=r"target=field makes one table a quadrant, but output=.*there is a file"):
        targets_of("field", tmp_path / "there", field=250)


@pytest.mark.parametrize(
    "text",
    [
        "250 1 1\n251 16 4\n",
        "# of March\n\n250\t1 1   # bright\n  251 16 4",
        "0 250 1 1\n1 251 16 4\n",
        "250,1,1\n251, 16, 4\n",
        "field,ccd,quad\n250,1,1\n251,16,4\n",
        '"field","ccd","quad"\r\n250,1,1\r\n"251","16","4"\r\n',
        "\ufeffField name quadrant ccd\n250 x1 1 1\n251 x2 4 16\n",
    ],
)
def test_lists_of_quadrants_as_text(tmp_path, text):
    for name in ("slurm.dat", "list.csv"):
        targets = listed(tmp_path, text, name)
        assert quadrants(targets) == [(250, 1, 1), (251, 16, 4)]
        assert not targets.warnings
    assert quadrants(listed(tmp_path, text, index=1)) == [(251, 16, 4)]


@pytest.mark.parametrize("name", ["q.parquet", "q.h5"])
def test_lists_of_quadrants_as_tables(tmp_path, name):
    table = pa.table({"n": [5, 6], "field": [250, 251], "ccd": [1, 16], "quad": [1, 4]})
    write_table(table, tmp_path / name, TableMetadata(kind="quadrants"))
    targets = targets_of("quadrant_list", path=str(tmp_path / name))
    assert quadrants(targets) == [(250, 1, 1), (251, 16, 4)]
    write_table(table.drop_columns(["ccd"]), tmp_path / name, TableMetadata(kind="quadrants"))
    with pytest.raises(MissingColumnError, match="ccd"):
        targets_of("quadrant_list", path=str(tmp_path / name))
    write_table(table.set_column(1, "field", [[250.0, 251.0]]), tmp_path / name, TableMetadata(kind="quadrants"))
    with pytest.raises(SchemaError, match=r"row 1: .* is not a quadrant"):
        targets_of("quadrant_list", path=str(tmp_path / name))


def test_repeated_quadrants_are_counted(tmp_path):
    targets = listed(tmp_path, "250 1 1\n250 1 2\n250 1 1\n250 1 3\n250 1 1\n")
    assert quadrants(targets) == [(250, 1, 1), (250, 1, 2), (250, 1, 3)]
    assert len(targets.warnings) == 1
    assert "slurm.dat: 2 of 5 lines repeat a quadrant; 3 distinct ones are made" in targets.warnings[0]
    assert quadrants(listed(tmp_path, "250 1 1\n250 1 1\n250 1 3\n", index=1)) == [(250, 1, 3)]
    with pytest.raises(ConfigError, match=r"index=2 is none of .*: it has 2 quadrants, numbered 0 to 1"):
        listed(tmp_path, "250 1 1\n250 1 1\n250 1 3\n", index=2)


def test_lists_say_how_many_light_curves_there_are(tmp_path):
    table = pa.table({"field": [250, 251], "ccd": [1, 16], "quad": [1, 4], "n_sources": [7, None]})
    write_table(table, tmp_path / "q.parquet", TableMetadata(kind="quadrants"))
    assert targets_of("quadrant_list", path=str(tmp_path / "q.parquet")).n_sources == {"field 250 ccd 1 quad 1": 7}
    for text, name in (
        ("n_sources,field,ccd,quad\n7,250,1,1\n0,251,16,4\n", "list.csv"),
        ('{"250": {"1": {"1": 7}}, "251": {"16": {"4": 0}}}', "list.json"),
    ):
        targets = listed(tmp_path, text, name)
        assert quadrants(targets) == [(250, 1, 1), (251, 16, 4)]
        assert targets.n_sources == {"field 250 ccd 1 quad 1": 7, "field 251 ccd 16 quad 4": 0}
        assert targets.warnings == (
            f"{tmp_path / name}: 1 quadrants have no light curves by the list; their tables have no rows",
        )
        assert listed(tmp_path, text, name, index=0).n_sources == {"field 250 ccd 1 quad 1": 7}
    targets = listed(tmp_path, '{"250": {"1": [1, 3], "2": [4]}}', "list.json")
    assert quadrants(targets) == [(250, 1, 1), (250, 1, 3), (250, 2, 4)]
    assert targets.n_sources == {}


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "{",
            FormatError,
            r"list\.json is no list of quadrants .*; JSON is \{field: \{ccd: \{quad: light curves\}\}\}",
        ),
        ("[1, 2]", FormatError, "is no list of quadrants"),
        ('{"250": {"one": [1]}}', FormatError, "is no list of quadrants"),
        ('{"250": {"17": [1]}}', DataError, r"list\.json, 250/17/1: ccd 17 does not exist"),
        ("{}", EmptySelectionError, "lists no quadrant"),
    ],
)
def test_malformed_json(tmp_path, text, error, message):
    with pytest.raises(error, match=message):
        listed(tmp_path, text, "list.json")


def test_holes_in_a_list_are_counted(tmp_path):
    targets = listed(tmp_path, "3 250 1 1\n4 250 1 2\n9 250 1 3\n6 250 1 1\n")
    assert quadrants(targets) == [(250, 1, 1), (250, 1, 2), (250, 1, 3)]
    assert [line.partition(": ")[2] for line in targets.warnings] == [
        "1 of 4 lines repeat a quadrant; 3 distinct ones are made",
        "3 job numbers have no line: 5, 7, 8; the 3 others are made",
    ]
    assert not listed(tmp_path, "7 250 1 1\n9 250 1 2\n8 250 1 4\n").warnings
    (told,) = listed(tmp_path, "0 250 1 1\n99999999999999 250 1 2\n").warnings
    assert "100000 job numbers have no line: 1, 2, 3, 4, 5, ..." in told


def test_job_numbers_are_what_a_job_array_counts_by(tmp_path):
    text = "7 250 1 1\n9 250 1 2\n8 250 1 1\n"
    assert quadrants(listed(tmp_path, text, index=9)) == [(250, 1, 2)]
    with pytest.raises(ConfigError, match=r"index=0 is none of .*: it has 2 quadrants, numbered 7 to 9"):
        listed(tmp_path, text, index=0)
    with pytest.raises(DataError, match=r"line 2: job number 7 stands there twice"):
        listed(tmp_path, "7 250 1 1\n7 250 1 2\n")
    with pytest.raises(DataError, match=r"line 2: no job number, but other lines have one"):
        listed(tmp_path, "0 250 1 1\n250 1 2\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("250 1 1\n\n250 1\n", r"slurm\.dat, line 3: '250 1' is not a quadrant; write field ccd quad, such as 250 1 2"),
        ("250 1 1\n250 one 1\n", r"line 2: '250 one 1' is not"),
        ("250 1 1.0\n", r"line 1: '250 1 1\.0' is not"),
        ("-250 1 1\n", "line 1: '-250 1 1' is not"),
        ("0 250 1 1 5\n", "line 1: '0 250 1 1 5' is not"),
        ("# c\n250 17 1\n", "line 2: ccd 17 does not exist; it is 1 to 16"),
        ("250 1 5\n", "line 1: quad 5 does not exist"),
        ("250 0 1\n", "line 1: ccd 0 does not exist"),
        ("field,ccd,quad\n250,1\n", "line 2: '250,1' is not a quadrant"),
        ("field ccd quad\nfield ccd quad\n", "line 2: 'field ccd quad' is not a quadrant"),
    ],
)
def test_malformed_lines(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        listed(tmp_path, text)


def test_lists_of_nothing(tmp_path):
    with pytest.raises(FormatError, match=r"empty \(0 bytes\)"):
        listed(tmp_path, "")
    for text in ("\n\n", "# only\n# comments\n", "field,ccd,quad\n"):
        with pytest.raises(EmptySelectionError, match="lists no quadrant; write one a line: field ccd quad"):
            listed(tmp_path, text)
    with pytest.raises(MissingColumnError, match="line 1 lacks"):
        listed(tmp_path, "field,chip,quad\n250,1,1\n")
    with pytest.raises(FormatError, match="does not exist"):
        targets_of("quadrant_list", path=str(tmp_path / "none.dat"))
    (tmp_path / "slurm.dat").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="is not text"):
        targets_of("quadrant_list", path=str(tmp_path / "slurm.dat"))


@pytest.mark.parametrize("id_name", ["ztf_id", "_id", "ZTFID", "id"])
@pytest.mark.parametrize("name", ["s.parquet", "s.csv", "s.h5"])
def test_ids_are_exact_in_every_format(tmp_path, id_name, name):
    table = pa.table({id_name: pa.array([BIG + 1, BIG, 5, BIG + 1], pa.int64()), "obj_id": ["a", "b", "c", "d"]})
    request = request_of(tmp_path, table, name)
    assert request.selection.ids.to_pylist() == [BIG + 1, BIG, 5]
    rows = pa.table({"id": [BIG + 1, 5, BIG + 2]})
    result = accounted(request, rows)
    assert (result.asked, result.duplicates, result.found) == (4, 1, 2)
    assert result.not_found.to_pylist() == [{"id": BIG, "name": "b"}]
    assert request.names_of(rows).to_pylist() == ["a", "c", None]


def test_plain_csv_of_large_and_textual_ids(tmp_path):
    request = request_of(tmp_path, f"ztf_id,ra\n{BIG + 1},x\n{BIG + 3},x\n", "s.csv")
    assert request.selection.ids.to_pylist() == [BIG + 1, BIG + 3]
    # Beyond 64 bits a file of numbers is read as text; found light curves may have either.
    request = request_of(tmp_path, f"ztf_id\n{2**64}\n17\nZTF18x\n", "s.csv")
    assert request.selection.ids.to_pylist() == [str(2**64), "17", "ZTF18x"]
    assert accounted(request, pa.table({"id": [17, 18]})).found == 1
    assert accounted(request, pa.table({"id": ["ZTF18x", "17"]})).not_found["id"].to_pylist() == [str(2**64)]


def test_ids_that_went_through_a_float_are_refused(tmp_path):
    with pytest.raises(DataError, match="column 'ztf_id' is double; ids must be whole numbers or text"):
        request_of(tmp_path, pa.table({"ztf_id": [1.0, 2.0]}))
    for seen in ("9.00719925474e+15", "9007199254740993.0", "9e15"):
        with pytest.raises(DataError, match=r"'ztf_id' has '9.*' in row 2, which went through a float"):
            request_of(tmp_path, f"ztf_id\n9007199254740993\n{seen}\n", "s.csv")
    with pytest.raises(DataError, match="column '_id' has no value in row 2"):
        request_of(tmp_path, pa.table({"_id": [1, None]}))


def test_ids_go_before_positions_which_are_kept_for_the_list(tmp_path):
    table = pa.table({"id": [1, 2], "RA": [10.0, None], "Dec.": [5.0, 6.0], "name": ["x", None]})
    request = request_of(tmp_path, table)
    assert request.selection.positions is None
    assert accounted(request, pa.table({"id": [1]})).not_found.to_pylist()[0]["dec"] == 6.0
    for wrong in (
        {"ra": ["10:30", "x"], "dec": [1.0, 2.0]},
        {"coordinates": ["nowhere", None]},
        {"coordinates": [1, 2]},
    ):
        (row,) = accounted(
            request_of(tmp_path, pa.table({"id": [1, 2], **wrong})), pa.table({"id": [2]})
        ).not_found.to_pylist()
        assert (row["id"], row["ra"]) == (1, None)
    assert request_of(tmp_path, pa.table({"id": [5, 6], "ztf_id": [1, 2]})).selection.ids.to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("ra", "dec"), [("ra", "dec"), ("RA", "DEC"), ("R.A.", "Decl."), ("radeg", "dedeg"), ("ra_deg", "de_deg")]
)
def test_positions_of_many_names(tmp_path, ra, dec):
    table = pa.table(
        {ra: [359.9999, 10.0, 10.0, 50.0, 200.0], dec: [0.0, 90.0, 90.0, 20.0, -45.0], "name": list("abcde")}
    )
    request = request_of(tmp_path, table, "s.csv")
    assert (request.n_asked, request.n_duplicates) == (5, 1)
    stars = {"id": [1, 2, 3, 4], "ra": [0.0001, 250.0, 50.0, None], "dec": [0.0, 90 - ARCSEC, 20 + 3 * ARCSEC, None]}
    rows = pa.table(stars)
    result = accounted(request, rows)
    assert (result.asked, result.duplicates, result.found) == (5, 1, 2)
    assert result.not_found.to_pylist() == [
        {"name": "d", "ra": 50.0, "dec": 20.0},
        {"name": "e", "ra": 200.0, "dec": -45.0},
    ]
    assert request.names_of(rows).to_pylist() == ["a", "b", None, None]
    assert accounted(request_of(tmp_path, table, "s.csv", radius_arcsec=3.001), rows).found == 3


def test_reasons_go_to_the_sources_that_asked(tmp_path):
    request = request_of(tmp_path, pa.table({"id": [BIG + 1, BIG, 5], "name": ["x", "y", "z"]}))
    missing = pa.table({"id": [BIG, 99], "reason": ["service: down", "other"]})
    assert request.reasons(missing) == [None, "service: down", None]
    found = request.found(pa.table({"id": [BIG + 1]}))
    assert request.account(found, request.reasons(missing)).not_found.to_pylist() == [
        {"id": BIG, "name": "y", "reason": "service: down"},
        {"id": 5, "name": "z", "reason": "no light curve in the source"},
    ]
    assert request.reasons(missing.slice(0, 0)) == [None, None, None]
    # A position that was not answered, and a light curve near two positions that did not come.
    request = request_of(tmp_path, pa.table({"ra": [10.0, 10.0, 40.0], "dec": [0.0, 1.5 * ARCSEC, 9.0]}))
    missing = pa.table(
        {
            "id": [None, 7, 8],
            "ra": [40.0, 10.0, None],
            "dec": [9.0, 0.7 * ARCSEC, None],
            "reason": ["service: busy", "not there", "lost"],
        }
    )
    assert request.reasons(missing) == ["not there", "not there", "service: busy"]


def test_a_star_near_two_positions_is_found_by_both(tmp_path):
    table = pa.table({"ra": [10.0, 10.0], "dec": [0.0, 1.5 * ARCSEC], "name": ["near", "far"]})
    request = request_of(tmp_path, table)
    rows = pa.table({"id": [1], "ra": [10.0], "dec": [0.5 * ARCSEC]})
    assert accounted(request, rows).found == 2
    assert request.names_of(rows).to_pylist() == ["near"]


def test_positions_as_scope_writes_them(tmp_path):
    geo = [
        {"radec_geojson": {"type": "Point", "coordinates": [ra - 180.0, dec]}}
        for ra, dec in ((0.0, 5.0), (300.0, -9.0))
    ]
    for table, name in (
        (pa.table({"coordinates": geo}), "s.parquet"),
        (pa.table({"coordinates": [str(one) for one in geo]}), "s.csv"),
        (pa.table({"coordinates": [str(one).replace("'", '"') for one in geo]}), "s.h5"),
    ):
        positions = request_of(tmp_path, table, name).selection.positions
        assert positions.ra.tolist() == [0.0, 300.0]
        assert positions.dec.tolist() == [5.0, -9.0]
    for wrong in (None, {"radec_geojson": None}, {"radec_geojson": {"type": "Point", "coordinates": [1.0]}}):
        with pytest.raises(DataError, match=r"column 'coordinates' has .* in row 3, which is not"):
            request_of(tmp_path, pa.table({"coordinates": [*geo, wrong]}))
    with pytest.raises(DataError, match="'coordinates' has 'nowhere' in row 1"):
        request_of(tmp_path, pa.table({"coordinates": ["nowhere"]}))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"ra": [1.0, 1.0, -10.0], "dec": [0.0, 0.0, 0.0]}, r"s\.parquet: row 3 is at ra=-10 dec=0 \(1 such rows\)"),
        ({"ra": [1.0, None], "dec": [0.0, 0.0]}, "row 2 is at ra=nan"),
        ({"ra": [1.0, float("inf")], "dec": [0.0, 0.0]}, "row 2 is at ra=inf"),
        ({"ra": [1.0], "dec": [91.0]}, "row 1 is at ra=1 dec=91"),
        ({"ra": ["12:30:00", "12h"], "dec": [1.0, 1.0]}, "column 'ra' in row 2: ra=12h is not a right ascension"),
        ({"ra": [True], "dec": [1.0]}, "column 'ra' is bool"),
        ({"ra": [1.0], "name": ["x"]}, r"has neither ids \(ztf_id, .*\) nor positions .* it has: ra, name"),
        ({"ra": pa.array([], pa.float64()), "dec": pa.array([], pa.float64())}, "has no rows; give one source a row"),
        ({"id": [1], "name": [[1]]}, "column 'name' is list"),
    ],
)
def test_sources_that_cannot_be_used(tmp_path, table, message):
    with pytest.raises((DataError, SchemaError), match=message):
        request_of(tmp_path, pa.table(table), "s.parquet")


def test_files_of_sources_that_cannot_be_read(tmp_path):
    with pytest.raises(FormatError, match="does not exist"):
        targets_of("source_ids", path=str(tmp_path / "none.parquet"))
    with pytest.raises(FormatError, match=r"has the suffix '\.txt'"):
        targets_of("source_ids", path="ids.txt")
    with pytest.raises((FormatError, EmptySelectionError)):
        request_of(tmp_path, "", "s.csv")
    with pytest.raises(EmptySelectionError, match="has no rows"):
        request_of(tmp_path, "ztf_id\n", "s.csv")


def test_repeated_sources_are_said(tmp_path):
    pq.write_table(pa.table({"id": [1, 1, 2]}), tmp_path / "s.parquet")
    targets = targets_of("source_ids", path=str(tmp_path / "s.parquet"))
    assert targets.warnings == (f"{tmp_path / 's.parquet'}: 1 of 3 rows repeat a source and count once",)


def test_from_the_request_to_the_light_curves(tmp_path):
    n = 6
    lists = {"hjd": [[1.0]] * n, "mag": [[1.0]] * n, "magerr": [[0.1]] * n}
    facts = {"ra": [10.0 + i for i in range(n)], "dec": [0.0] * n}
    pq.write_table(pa.table({"id": range(BIG, BIG + n), **lists, **facts}), tmp_path / "lc.parquet")
    for table in (
        pa.table({"ztf_id": [BIG + 1, 1, BIG + 5], "name": ["one", "none", "five"]}),
        pa.table({"ra": [11.0 + ARCSEC, 100.0, 15.0], "dec": [0.0] * 3, "name": ["one", "none", "five"]}),
    ):
        request = request_of(tmp_path, table)
        (chunk,) = open_light_curves(tmp_path / "lc.parquet", selection=request.selection).chunks()
        assert chunk.rows["id"].to_pylist() == [BIG + 1, BIG + 5]
        assert request.names_of(chunk.rows).to_pylist() == ["one", "five"]
        assert accounted(request, chunk.rows).not_found["name"].to_pylist() == ["none"]
