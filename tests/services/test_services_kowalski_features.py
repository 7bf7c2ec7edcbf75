"""Features of light curves that a service sends: the same as those of files, whatever goes wrong on the way."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import ConfigError, CredentialError, OutputError, ServiceUnavailableError
from scope_ml.generate_features import DOOR
from scope_ml.io.tables import read_table
from scope_ml.services import waiting
from scope_ml.services.kowalski.light_curves import LISTED
from scope_ml.stages import feature_reuse, generate_features
from scope_ml.stages.catalogue_periods import CatalogueSource
from scope_ml.stages.generate_features import GenerateFeatures, run

#: What ids of the quadrant begin with.
ID_PREFIX = (10**13 + 683 * 10**9 + (4 * 8 + 2) * 10**7) // 10**7

#: The quadrant of the small survey with most light curves, and how many.
FIELD, CCD, QUAD, N_LIGHT_CURVES = 683, 9, 3, 24

QUADRANT = {"kind": "quadrant", "field": FIELD, "ccd": CCD, "quad": QUAD}
SEARCH = {"method": "ls", "max_frequency": 1.0, "samples_per_peak": 3}
GROUPS = ["basic", "period", "colour", "alerts", "crossmatch"]

#: What is measured where it is no matter.
QUICK = {"features": {"groups": ["basic"]}, "period_search": {"method": "none"}}


def as_sent(table):
    """Return light curves as the service has them: five decimals in double precision, one id a row."""
    table = table.drop_columns(["source_id"]).sort_by("id")
    for column in ("mag", "magerr"):
        rounded = [[round(float(one), 5) for one in curve] for curve in table[column].to_pylist()]
        table = table.set_column(table.column_names.index(column), column, pa.array(rounded, pa.list_(pa.float64())))
    return table


@pytest.fixture(scope="module")
def survey(kowalski_tables, tmp_path_factory):
    """The folder of a survey with the light curves that the service sends."""
    folder = tmp_path_factory.mktemp("survey")
    for name in ("ZTF_sources", "ZTF_alerts", "Gaia_EDR3", "AllWISE", "PS1_DR1"):
        table = kowalski_tables[name]
        (folder / name).mkdir()
        pq.write_table(as_sent(table) if name == "ZTF_sources" else table, folder / name / "part-00000.parquet")
    return folder


@pytest.fixture
def values(kowalski, tmp_path, monkeypatch):
    """A function that returns the configuration of a run that asks the service."""
    # The sources may be edited while this runs; parts of other code would not count.
    monkeypatch.setattr(generate_features, "code_digest", lambda *_: "code")

    def make(output, target=None, *, service=None, **options):
        return {
            "source": {"kind": "kowalski", "path": None},
            "survey": {"collections": {"sources": kowalski.sources}},
            "service": {
                "kowalski": {
                    "instances": kowalski.instances,
                    "cache": str(tmp_path / "cache"),
                    "query_limit": 5,
                    "backoff_s": 0.0,
                    **(service or {}),
                }
            },
            "output": str(tmp_path / output),
            "target": target or QUADRANT,
            "cleaning": {"min_n_obs": 20},
            "period_search": SEARCH,
            "features": {"groups": GROUPS},
            "machine": {"workers": 1, "device": "cpu", "max_batch_sources": 4},
            **options,
        }

    return make


def generate(values):
    return run(build(GenerateFeatures, values), progress=NullProgress())


def rows_of(path):
    return str(read_table(Path(path)).data.to_pylist())


@pytest.fixture(scope="module")
def expected(survey, tmp_path_factory):
    """The table of the quadrant from files, as text."""
    output = tmp_path_factory.mktemp("expected") / "f.parquet"
    report = generate(
        {
            "source": {"kind": "survey", "path": str(survey)},
            "output": str(output),
            "target": QUADRANT,
            "cleaning": {"min_n_obs": 20},
            "period_search": SEARCH,
            "features": {"groups": GROUPS},
            "machine": {"workers": 1, "device": "cpu", "max_batch_sources": 4},
        }
    )
    assert report.n_in == N_LIGHT_CURVES
    assert report.n_out > 10
    return rows_of(output)


def test_a_quadrant_has_the_features_of_files_and_a_second_run_asks_nothing(kowalski, values, expected, tmp_path):
    report = generate(values("f.parquet"))
    assert rows_of(tmp_path / "f.parquet") == expected
    facts = {name: report.facts[name] for name in ("ids_asked", "ids_answered", "ids_missing", "ids_open")}
    assert facts == {"ids_asked": N_LIGHT_CURVES, "ids_answered": N_LIGHT_CURVES, "ids_missing": {}, "ids_open": 0}
    assert json.loads(Path(report.outputs["report"]).read_text())["facts"]["ids_asked"] == N_LIGHT_CURVES
    assert not (tmp_path / "f.parquet.unanswered.parquet").exists()
    assert read_table(tmp_path / "f.parquet").metadata.inputs[0].n_rows == N_LIGHT_CURVES
    began = kowalski.n_requests
    generate(values("again.parquet"))
    assert kowalski.requests_since(began) == []
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "f.parquet").read_bytes()


def test_the_table_is_the_same_under_faults(kowalski, values, expected, tmp_path):
    by_ids = {"query_type": "find", "min_ids": 1}
    for kind, more in {
        "status": {"status": 503},
        "cut": {},
        "reset_after": {},
        "missing": {"share": 0.4, **by_ids},
        "empty": by_ids,
        "duplicate": by_ids,
        "foreign": by_ids,
        "timeout": by_ids,
    }.items():
        kowalski.faults.add(kind=kind, probability=0.04, seed=len(kind), **more)
    report = generate(values("f.parquet", service={"connections": 3}))
    assert report.facts["ids_missing"] == {}
    assert rows_of(tmp_path / "f.parquet") == expected


def ids_of(kowalski):
    """The light curves of the quadrant, sorted."""
    return [one for one in sorted(kowalski.ids(kowalski.sources)) if one // 10_000_000 == ID_PREFIX]


def test_an_id_that_is_listed_but_not_sent_is_named(kowalski, values, tmp_path):
    lost = ids_of(kowalski)[6]
    kowalski.faults.add(kind="missing", ids=(lost,), query_type="find", min_ids=1)
    report = generate(values("f.parquet", **QUICK))
    assert (report.n_in, report.facts["ids_answered"]) == (N_LIGHT_CURVES - 1, N_LIGHT_CURVES - 1)
    assert (report.facts["ids_missing"], report.facts["ids_open"]) == ({LISTED: 1}, 1)
    (row,) = read_table(tmp_path / "f.parquet.unanswered.parquet", kind="ids_unanswered").data.to_pylist()
    assert (row["id"], row["reason"]) == (lost, LISTED)
    assert report.outputs["unanswered"] == str(tmp_path / "f.parquet.unanswered.parquet")
    again = "; type the same command again to ask for them"
    assert f"1 of {N_LIGHT_CURVES} ids have no light curve ({lost}): 1: {LISTED}{again}" in report.warnings


def test_an_error_is_told_while_catalogues_hang(kowalski, values, monkeypatch):
    monkeypatch.setattr(waiting, "LAST_MOMENT_S", 0.05)
    kowalski.faults.add(kind="hang", query_type="cone_search")
    kowalski.faults.add(kind="expired", query_type="find", after=2)
    began = time.monotonic()
    with pytest.raises(CredentialError, match="has expired"):
        generate(values("f.parquet", service={"connections": 16}))
    # Far less than the 300 s for which the service may be silent.
    assert time.monotonic() - began < 60.0


class KilledError(Exception):
    """Stands for the end of the process."""


def dying(method, n_calls):
    """Return `method`, which ends the run at a call."""
    calls = Counter()

    def called(*given, **named):
        calls[method] += 1
        if calls[method] == n_calls:
            raise KilledError
        return method(*given, **named)

    return called


def test_a_run_that_ends_in_the_middle_goes_on(kowalski, values, expected, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(feature_reuse, "extract_features", dying(feature_reuse.extract_features, 4))
        with pytest.raises(KilledError):
            generate(values("f.parquet"))
    began = kowalski.n_requests
    report = generate(values("f.parquet"))
    # The other thread may have finished its shard while the fourth one died.
    assert report.facts["n_shards_resumed"] in (3, 4)
    assert rows_of(tmp_path / "f.parquet") == expected
    # What came before is not asked for again, nor is the list of ids.
    asked = [one for one in kowalski.requests_since(began) if one["query_type"] != "info"]
    assert all(one["n_ids"] <= 5 for one in asked)
    assert sum(one["n_ids"] for one in asked if kowalski.sources in one["catalogs"]) <= N_LIGHT_CURVES - 12


def test_a_token_that_expires_in_the_middle_is_a_clear_error(kowalski, values, expected, tmp_path):
    kowalski.faults.add(kind="expired", query_type="find", min_ids=2, after=2)
    with pytest.raises(CredentialError, match=rf"{kowalski.variable}") as refused:
        generate(values("f.parquet", service={"connections": 1}))
    assert kowalski.token not in str(refused.value)
    assert not (tmp_path / "f.parquet").exists()
    kowalski.faults.clear()
    began = kowalski.n_requests
    generate(values("f.parquet", service={"connections": 1}))
    assert rows_of(tmp_path / "f.parquet") == expected
    finds = [one for one in kowalski.requests_since(began) if one["query_type"] == "find"]
    assert [one["n_ids"] for one in finds] == [5, 5, 4]


def test_later_and_private_points_are_removed_one_by_one(kowalski, values, tmp_path):
    """The service's filters choose documents: with them, points of both kinds would come along (B1)."""
    whole = read_cache(generate(values("whole.parquet", **QUICK)), tmp_path)
    times = np.concatenate([np.array(one) for one in whole["hjd"].to_pylist()])
    programids = np.concatenate([np.array(one) for one in whole["programid"].to_pylist()])
    latest = float(np.quantile(times, 0.7))
    cleaning = {"min_n_obs": 1, "max_timestamp_hjd": latest, "programids": [1], "keep_flagged": True}
    report = generate(values("cut.parquet", cleaning={**cleaning, "min_cadence_minutes": 0.0}, **QUICK))
    dropped = report.facts["points_dropped"]
    assert dropped["after_max_timestamp"] == np.count_nonzero(times > latest) > 100
    assert dropped["other_programid"] == np.count_nonzero((times <= latest) & (programids != 1)) > 100
    assert report.facts["points_in"] == len(times)
    n_obs = {
        one["id"]: sum(
            hjd <= latest and programme == 1 for hjd, programme in zip(one["hjd"], one["programid"], strict=True)
        )
        for one in whole.to_pylist()
    }
    measured = read_table(tmp_path / "cut.parquet").data
    assert dict(zip(measured["id"].to_pylist(), measured["n"].to_pylist(), strict=True)) == {
        one: n for one, n in n_obs.items() if n
    }
    # Points of programmes that the service is not to be asked for do not even reach the cache.
    public = generate(values("public.parquet", **QUICK, service={"programids": [1], "cache": str(tmp_path / "public")}))
    assert public.facts["points_not_allowed"] == np.count_nonzero(programids != 1)
    kept = read_cache(public, tmp_path / "public")
    assert {programme for one in kept["programid"].to_pylist() for programme in one} == {1}


def read_cache(_, folder):
    """Return the light curves of the only question in a cache."""
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.rglob("block-*.parquet"))])


def dropped_of(table):
    """Return the ids that a table's list of dropped light curves has."""
    return read_table(f"{table}.dropped.parquet").data["id"].to_pylist()


def test_quadrants_add_up_and_those_with_gaps_are_made_again(kowalski, values, tmp_path):
    (tmp_path / "list.txt").write_text(f"{FIELD} {CCD} {QUAD}\n296 1 1\n999 1 1\n")
    target = {"kind": "quadrant_list", "path": str(tmp_path / "list.txt")}
    options = {"service": {"connections": 1, "retries": 0}, **QUICK}
    # The list and two blocks come, then nothing for a while.
    kowalski.faults.add(
        kind="status", status=500, query_type="find", catalog=kowalski.sources, min_ids=1, after=3, times=8
    )
    report = generate(values("tables", target, **options))
    facts = report.facts
    assert facts["ids_asked"] == N_LIGHT_CURVES + 18 == report.n_in + sum(facts["ids_missing"].values())
    assert facts["ids_open"] == sum(facts["ids_missing"].values()) >= 1
    assert (facts["n_quadrants"], facts["n_quadrants_without_light_curves"], facts["n_failed"]) == (3, 1, 0)
    (line,) = (line for line in report.warnings if "ids have no light curve" in line)
    assert line.endswith("type the same command again to ask for them")
    first = tmp_path / "tables" / f"field_{FIELD:06d}" / f"ccd_{CCD:02d}_quad_{QUAD}.parquet"
    assert read_table(f"{first}.unanswered.parquet").data.num_rows == facts["ids_open"]
    assert read_table(tmp_path / "tables" / "field_000999" / "ccd_01_quad_1.parquet").data.num_rows == 0
    report = generate(values("tables", target, **options))
    assert report.facts["n_quadrants_finished_before"] == 2
    assert (report.facts["ids_open"], report.facts["ids_missing"]) == (0, {})
    assert (report.facts["ids_asked"], report.n_in) == (N_LIGHT_CURVES + 18, N_LIGHT_CURVES + 18)
    assert any("1 quadrants lacked light curves that the service had not sent" in line for line in report.warnings)
    assert not Path(f"{first}.unanswered.parquet").exists()
    assert sorted(read_table(first).data["id"].to_pylist() + dropped_of(first)) == ids_of(kowalski)
    began = kowalski.n_requests
    assert generate(values("tables", target, **options)).facts["n_quadrants_finished_before"] == 3
    assert kowalski.requests_since(began) == []


def test_a_service_that_is_down_stops_after_two_quadrants(kowalski, values, tmp_path):
    target = {"kind": "field", "field": FIELD}
    kowalski.faults.add(kind="html", status=502)
    options = {**QUICK, "service": {"retries": 0}}
    with pytest.raises(ServiceUnavailableError):
        generate(values("tables", target, **options))
    kowalski.faults.clear()
    kowalski.faults.add(kind="html", status=502, query_type="count_documents", catalog=kowalski.sources)
    began = kowalski.n_requests
    with pytest.raises(ServiceUnavailableError):
        generate(values("tables", target, **options))
    counted = [one for one in kowalski.requests_since(began) if one["query_type"] == "count_documents"]
    assert len(counted) == 2


def test_places_and_ids_of_a_file(kowalski, kowalski_tables, values, tmp_path):
    stars = kowalski_tables["ZTF_sources"].slice(0, 9).to_pylist()
    rows = [f"{one['ra']},{one['dec']},star{at}" for at, one in enumerate(stars[::3])]
    (tmp_path / "places.csv").write_text("\n".join(["ra,dec,obj_id", *rows, "1.5,-88.0,nobody"]))
    target = {"kind": "source_ids", "path": str(tmp_path / "places.csv")}
    report = generate(values("places.parquet", target, **QUICK))
    missing = read_table(tmp_path / "places.parquet.not_found.parquet").data.to_pylist()
    assert [(one["name"], one["reason"]) for one in missing] == [("nobody", "no light curve in the source")]
    assert report.facts["positions_asked"] == 4
    assert report.facts["ids_asked"] == report.facts["ids_answered"] == report.n_in >= 3
    (tmp_path / "ids.csv").write_text("\n".join(["ztf_id", str(stars[0]["id"]), "17", str(2**62)]))
    report = generate(values("ids.parquet", {"kind": "source_ids", "path": str(tmp_path / "ids.csv")}, **QUICK))
    missing = read_table(tmp_path / "ids.parquet.not_found.parquet").data.to_pylist()
    assert missing == [{"id": one, "reason": f"not in {kowalski.sources}"} for one in (17, 2**62)]
    assert (report.n_in, report.facts["sources_found"], report.facts["ids_asked"]) == (1, 1, 3)


def test_mistakes_are_refused_in_one_line(kowalski, values, monkeypatch, tmp_path):
    cases = {
        r"needs a target: .*target\.field=250": values("f.parquet", {"kind": "all"}),
        rf"ZTF_sources.*{kowalski.sources}": {
            **values("f.parquet"),
            "survey": {"collections": {"sources": "ZTF_sources"}},
        },
        r"source\.path=x says where files are": {**values("f.parquet"), "source": {"kind": "kowalski", "path": "x"}},
        r"band z is none of Kowalski's": {**values("f.parquet"), "band": "z"},
        r"source=parquet needs light curves": {
            **values("f", {"kind": "field", "field": 1}),
            "source": {"kind": "parquet", "path": None},
        },
    }
    for words, given in cases.items():
        with pytest.raises(ConfigError, match=words) as refused:
            generate(given)
        assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="light curves are read from files here"):
        build(CatalogueSource, {"kind": "kowalski", "path": None}).open()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"is a file, not a folder; .*service\.kowalski\.cache=FOLDER"):
        generate(values("f.parquet", service={"cache": str(tmp_path / "file")}))
    monkeypatch.delenv(kowalski.variable)
    with pytest.raises(CredentialError, match=kowalski.variable):
        generate(values("g.parquet", service={"cache": str(tmp_path / "new")}))
    assert not list(tmp_path.glob("*.parquet*"))


def test_no_token_is_in_anything_that_a_run_writes(kowalski, values, tmp_path, monkeypatch, capfd):
    """Through the door, so that what Hydra and logging write is looked at too; in good runs and in failing ones."""
    token = kowalski.make_token("sentinel")
    monkeypatch.setenv(kowalski.variable, token)
    monkeypatch.chdir(tmp_path)
    instance = ",".join(f"{name}:{value}" for name, value in kowalski.instances["test"].items())
    words = [
        "source=kowalski",
        "target=quadrant",
        *(f"target.{name}={value}" for name, value in QUADRANT.items() if name != "kind"),
        f"survey.collections.sources={kowalski.sources}",
        f"+service.kowalski.instances={{test:{{{instance}}}}}",
        "service.kowalski.cache=cache",
        "service.kowalski.backoff_s=0",
        "service.kowalski.retries=1",
        "features.groups=[basic,alerts]",
        "period_search=none",
        "machine.workers=1",
    ]
    assert DOOR.open([*words, "output=f.parquet"]) == 0
    kowalski.faults.add(kind="expired")
    assert DOOR.open([*words, "output=g.parquet", "service.kowalski.cache=other"]) == 2
    kowalski.faults.clear()
    kowalski.faults.add(kind="html", status=503)
    assert DOOR.open([*words, "output=h.parquet", "service.kowalski.cache=other"]) == 2
    kowalski.faults.clear()
    stranger = kowalski.make_token("sentinel", secret="another")
    monkeypatch.setenv(kowalski.variable, stranger)
    assert DOOR.open([*words, "output=i.parquet", "service.kowalski.cache=third"]) == 2
    said = "".join(capfd.readouterr())
    assert kowalski.variable in said
    assert "in=24" in said
    parts = {part for one in (token, stranger) for part in one.split(".")[1:]}
    assert all(len(part) > 20 for part in parts)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    for part in parts:
        assert part not in said
        assert [path for path in written if part.encode() in path.read_bytes()] == []
