"""Sources in localizations become ids of light curves: the nearest source on the sphere, each id once, the rest named."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import ConfigError, FormatError, NotAllowedError, QueryRefusedError
from scope_ml.io.selection import Selection
from scope_ml.io.tables import read_table
from scope_ml.stages.fritz_gcn import FritzGcn, not_found_path, run
from scope_ml.stages.gcn_matching import GcnSource, LightCurves, match
from scope_ml.stages.requested_sources import read_request

WHEN = datetime(2026, 11, 20, 3, 4, 5)
NOW = WHEN + timedelta(days=2)
RADIUS = 0.5
ARCSEC = 1 / 3600


def source(name, ra, dec, *events):
    return GcnSource(name=name, ra=ra, dec=dec, events=events or (WHEN,))


def found(*rows, unanswered=None):
    """Light curves of (id, ra, dec, epochs)."""
    ids, ra, dec, epochs = zip(*rows, strict=True) if rows else ((), (), (), ())
    return LightCurves(
        ids=pa.array(ids, pa.int64()),
        ra=np.array(ra, float),
        dec=np.array(dec, float),
        n_epochs=np.array(epochs, np.int64),
        unanswered=unanswered or {},
    )


def matched(sources, light_curves, *, min_epochs=0):
    def around(places):
        # It can be asked for.
        assert Selection(positions=places).digest
        return light_curves

    return match(sources, around, radius_arcsec=RADIUS, min_epochs=min_epochs)


def reasons(result):
    return dict(zip(*(result.without[name].to_pylist() for name in ("fritz_name", "reason")), strict=True))


def owners(result):
    return dict(zip(*(result.light_curves[name].to_pylist() for name in ("id", "fritz_name")), strict=True))


def test_a_light_curve_belongs_to_the_nearest_source():
    sources = [source("far", 10.0, 20.0), source("near", 10.0, 20.0 + 0.4 * ARCSEC)]
    result = matched(sources, found((1, 10.0, 20.0 + 0.3 * ARCSEC, 50)))
    assert owners(result) == {1: "near"}
    assert reasons(result) == {"far": "nearer_source"}
    assert result.light_curves["distance_arcsec"][0].as_py() == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize(
    ("at", "light_curve"),
    [
        ((0.0, 5.0), (360.0 - 0.4 * ARCSEC, 5.0)),
        ((360.0, 5.0), (0.3 * ARCSEC, 5.0)),
        ((-1e-7, 5.0), (0.0, 5.0)),
        ((12.0, 90.0), (192.0, 90.0 - 0.4 * ARCSEC)),
        ((200.0, -90.0 + 0.2 * ARCSEC), (20.0, -90.0 + 0.2 * ARCSEC)),
        ((50.0, 80.0), (50.0 + 2.0 * ARCSEC, 80.0)),
    ],
)
def test_neither_the_seam_nor_the_poles_lie_between(at, light_curve):
    assert owners(matched([source("s", *at)], found((7, *light_curve, 9)))) == {7: "s"}


def test_an_id_that_comes_twice_counts_once_with_its_nearest_place():
    result = matched([source("s", 1.0, 2.0)], found((7, 1.0, 2.0 + 0.4 * ARCSEC, 9), (7, 1.0, 2.0 + 0.1 * ARCSEC, 9)))
    assert owners(result) == {7: "s"}
    assert result.light_curves["distance_arcsec"][0].as_py() == pytest.approx(0.1, abs=1e-6)
    sources = [source("a", 1.0, 2.0), source("b", 1.0, 3.0)]
    result = matched(sources, found((7, 1.0, 2.0 + 0.4 * ARCSEC, 9), (7, 1.0, 3.0 + 0.1 * ARCSEC, 9)))
    assert (owners(result), reasons(result)) == ({7: "b"}, {"a": "nearer_source"})


def test_every_source_without_a_light_curve_has_a_reason():
    sources = [
        source("few", 1.0, 0.0),
        source("gone", 2.0, 0.0),
        source("lost", 400.0, 0.0),
        source("mute", 3.0, 0.0),
        source("well", 4.0, 0.0),
    ]
    rows = found((1, 1.0, 0.0, 49), (2, 4.0, 0.0, 50), (3, 4.0, 0.0, -1), unanswered={(3.0, 0.0): "no answer"})
    result = matched(sources, rows, min_epochs=50)
    assert reasons(result) == {
        "few": "few_epochs",
        "gone": "no_light_curve",
        "lost": "no_position",
        "mute": "not_answered",
    }
    assert result.light_curves["n_epochs"].to_pylist() == [50, None]


def test_of_two_sources_at_one_place_the_first_by_name_counts():
    for sources in ([source("b", 1.0, 2.0), source("a", 1.0, 2.0)], [source("a", 1.0, 2.0), source("b", 1.0, 2.0)]):
        result = matched(sources, found((7, 1.0, 2.0, 9)))
        assert (owners(result), reasons(result)) == ({7: "a"}, {"b": "nearer_source"})


def test_nothing_is_looked_for_where_there_are_no_places():
    def around(places):
        raise AssertionError(places)

    assert match([], around, radius_arcsec=1.0, min_epochs=0).light_curves.num_rows == 0
    assert reasons(match([source("s", 0.0, 91.0)], around, radius_arcsec=1.0, min_epochs=0)) == {"s": "no_position"}


@settings(max_examples=40)
@given(data=st.data())
def test_it_is_what_all_pairs_say(data):
    """Also at the seam and the pole: places within some arcseconds of one another, against all separations."""
    centre = data.draw(st.sampled_from([(0.0, 0.0), (180.0, 60.0), (10.0, 89.9999), (0.0, -90.0)]))
    offset = st.floats(-1.5 * ARCSEC, 1.5 * ARCSEC)

    def place(index):
        dec = max(-90.0, min(90.0, centre[1] + data.draw(offset)))
        return (centre[0] + data.draw(offset) / max(np.cos(np.radians(dec)), 1e-6)) % 360.0, dec

    places = [place(index) for index in range(data.draw(st.integers(1, 4)))]
    rows = [(index, *place(index), 10) for index in range(data.draw(st.integers(0, 5)))]
    sources = [source(f"s{index}", *at) for index, at in enumerate(places)]
    result = matched(sources, found(*rows))
    for number, ra, dec, _ in rows:
        apart = np.array([float(separation_arcsec(ra, dec, *at)) for at in places])
        if abs(apart.min() - RADIUS) < 1e-6:
            continue
        owner = owners(result).get(number)
        assert (owner is not None) == (apart.min() <= RADIUS)
        if owner is not None:
            assert apart[int(owner[1:])] <= apart.min() + 1e-6
    assert set(owners(result).values()) | set(reasons(result)) == {one.name for one in sources}


# ---- The stage


class Fritz:
    """A service with some sources in the localizations of events."""

    page, n_requests = 2, 0

    def __init__(self, events, sources):
        self.events, self.sources, self.asked = events, sources, []

    def get(self, path, params=None):
        self.n_requests += 1
        self.asked.append((path, dict(params)))
        if path == "/api/gcn_event":
            rows = [
                {"dateobs": when.isoformat(), "localizations": [{"localization_name": name} for name in names]}
                for when, names in self.events.items()
            ]
            rows = [one for one in rows if params.get("startDate", "") <= one["dateobs"] <= params.get("endDate", "9")]
            return {"events": sorted(rows, key=lambda one: one["dateobs"], reverse=True), "totalMatches": len(rows)}
        when = datetime.fromisoformat(params["localizationDateobs"])
        if not self.events.get(when) or params["localizationName"] not in (None, *self.events[when]):
            raise QueryRefusedError("refuses: Invalid localization query parameters (Localization ... not found)")
        first = (params["pageNumber"] - 1) * params["numPerPage"]
        rows = [{"id": name, "ra": ra, "dec": dec} for name, ra, dec in self.sources[when]]
        return {"sources": rows[first : first + params["numPerPage"]], "totalMatches": len(rows)}


@pytest.fixture
def light_curves(tmp_path):
    """A file of four light curves: two of a star at (10, 20), one at (30, 40), one far from all."""
    rows = [(2**53 + 1, 10.0, 20.0, 60), (2**53 + 3, 10.0, 20.0, 40), (5, 30.0, 40.0, 60), (6, 200.0, -5.0, 60)]
    lists = {name: [[float(k) for k in range(one[3])] for one in rows] for name in ("hjd", "mag", "magerr")}
    table = pa.table(
        {
            "id": pa.array([one[0] for one in rows], pa.int64()),
            "ra": [one[1] for one in rows],
            "dec": [one[2] for one in rows],
            "filter": pa.array([1, 2, 1, 1], pa.int32()),
            "field": pa.array([250] * 4, pa.int32()),
            "ccd": pa.array([1] * 4, pa.int32()),
            "quad": pa.array([1] * 4, pa.int32()),
            **lists,
            "catflags": [[0] * one[3] for one in rows],
        }
    )
    import pyarrow.parquet as pq

    path = tmp_path / "light_curves.parquet"
    pq.write_table(table, path)
    return path


@pytest.fixture
def fritz():
    older = WHEN - timedelta(days=1)
    sources = {
        WHEN: [("A", 10.0, 20.0), ("B", 30.0, 40.0), ("C", 77.0, 7.0)],
        older: [("A", 10.0, 20.0)],
        WHEN - timedelta(hours=1): [],
    }
    return Fritz({WHEN: ["new", "old"], older: ["old"], WHEN - timedelta(hours=1): []}, sources)


def door(light_curves, fritz, **options):
    values = {
        "source": {"kind": "parquet", "path": str(light_curves)},
        "output": str(light_curves.with_name("out.parquet")),
    }
    return run(build(FritzGcn, values | options), progress=NullProgress(), fritz=fritz, now=NOW)


def test_the_events_of_the_last_days_make_one_table(light_curves, fritz):
    report = door(light_curves, fritz)
    assert (report.n_in, report.n_out, report.dropped) == (3, 2, {"no_light_curve": 1})
    assert report.facts["events"] == [WHEN.isoformat(), (WHEN - timedelta(days=1)).isoformat()]
    assert report.facts["text"] == "2 events, 3 sources, 2 of them with 3 light curves"
    assert any("1 of 3 events do not have a localization" in line for line in report.warnings)
    assert any(line.endswith(": C") for line in report.warnings)
    output = light_curves.with_name("out.parquet")
    table = read_table(output, kind="gcn_sources")
    assert table.data["id"].to_pylist() == [5, 2**53 + 1, 2**53 + 3]
    assert table.data["fritz_name"].to_pylist() == ["B", "A", "A"]
    assert table.data["event"].to_pylist()[1] == ";".join(report.facts["events"])
    assert table.data["n_epochs"].to_pylist() == [60, 60, 40]
    assert {one.name: one.unit for one in table.metadata.columns}["distance_arcsec"] == "arcsec"
    assert read_table(not_found_path(output)).data["fritz_name"].to_pylist() == ["C"]
    # It is what generate_features takes: ids, and the names of the sources.
    request = read_request(output, radius_arcsec=2.0)
    assert request.sources["id"].to_pylist() == table.data["id"].to_pylist()
    assert request.named
    assert request.sources["name"].to_pylist() == ["B", "A", "A"]


def test_what_is_asked_of_fritz(light_curves, fritz):
    door(light_curves, fritz, dateobs=f"{WHEN.isoformat()}Z", days=3.5, cumprob=0.5, localization="old")
    assert {path for path, _ in fritz.asked} == {"/api/sources"}
    assert [params["pageNumber"] for _, params in fritz.asked] == [1, 2]
    first = fritz.asked[0][1]
    assert first["localizationDateobs"] == first["startDate"] == WHEN.isoformat()
    assert first["endDate"] == (WHEN + timedelta(days=3.5)).isoformat()
    assert (first["localizationName"], first["localizationCumprob"]) == ("old", 0.5)


def test_an_event_that_is_named_twice_is_asked_for_once(light_curves, fritz):
    older = (WHEN - timedelta(days=1)).isoformat()
    report = door(light_curves, fritz, dateobs=[older, WHEN.isoformat(), f"{older}Z"])
    assert report.facts["events"] == [WHEN.isoformat(), older]
    assert (
        read_table(light_curves.with_name("out.parquet")).data["event"].to_pylist()[1] == f"{WHEN.isoformat()};{older}"
    )


def test_an_event_with_a_fraction_of_a_second_is_that_event(light_curves):
    when = WHEN.replace(microsecond=250000)
    fritz = Fritz({when: ["map"]}, {when: [("A", 10.0, 20.0)]})
    assert door(light_curves, fritz, dateobs=when.isoformat()).n_out == 1


def test_where_nothing_is_new_the_bytes_are_the_same(light_curves, fritz):
    output = light_curves.with_name("out.parquet")
    door(light_curves, fritz)
    before = output.read_bytes(), not_found_path(output).read_bytes()
    fritz.sources[WHEN].reverse()
    fritz.page = 500
    door(light_curves, fritz)
    assert (output.read_bytes(), not_found_path(output).read_bytes()) == before
    fritz.sources[WHEN].append(("D", 200.0, -5.0))
    door(light_curves, fritz)
    assert output.read_bytes() != before[0]


def test_light_curves_with_few_epochs_are_left_out(light_curves, fritz):
    report = door(light_curves, fritz, min_epochs=50)
    assert report.facts["n_light_curves"] == 2
    assert door(light_curves, fritz, min_epochs=61).dropped == {"few_epochs": 2, "no_light_curve": 1}


def test_scopes_names_and_its_list(light_curves, fritz):
    report = door(light_curves, fritz, names="legacy", json=True)
    table = read_table(light_curves.with_name("out.parquet")).data
    assert table.column_names[:3] == ["ztf_id", "coordinates", "fritz_name"]
    assert table["coordinates"][0].as_py() == {"radec_geojson": {"coordinates": [-150.0, 40.0]}}
    listed = json.loads(light_curves.with_name("out.json").read_text())
    assert report.outputs["json"].endswith("out.json")
    assert listed["5"] == {"fritz_name": "B", "radec_geojson": {"coordinates": [-150.0, 40.0]}}
    assert list(listed) == ["5", str(2**53 + 1), str(2**53 + 3)]
    assert read_request(light_curves.with_name("out.parquet"), radius_arcsec=2.0).sources.num_rows == 3


def test_no_source_is_an_empty_table_in_a_folder_that_is_made(light_curves, fritz):
    """SCoPe divides by a number that is not there, and does not make the folder."""
    output = light_curves.parent / "fritzDownload" / "ids.parquet"
    fritz.sources[WHEN] = []
    report = door(light_curves, fritz, dateobs=WHEN.isoformat(), output=str(output))
    assert (report.n_in, report.n_out, report.facts["n_failed"]) == (0, 0, 0)
    assert report.warnings == (
        f"Fritz has no source in the 95% region of the event {WHEN.isoformat()}; the table is empty",
    )
    assert read_table(output).data.num_rows == 0
    report = door(light_curves, Fritz({}, {}), output=str(output))
    assert "no event of the last 7 days" in report.warnings[0]


def test_a_dry_run_writes_nothing(light_curves, fritz):
    report = door(light_curves, fritz, machine={"dry_run": True})
    assert (report.outputs, report.n_out) == ({}, 2)
    assert [path.name for path in light_curves.parent.iterdir()] == ["light_curves.parquet"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"dateobs": "soon"}, ConfigError, "dateobs=soon is no time"),
        ({"dateobs": []}, ConfigError, "names no event"),
        ({"dateobs": [WHEN.isoformat(), "2019-08-14"]}, ConfigError, "no time of day"),
        (
            {"dateobs": "2019-08-14T21:10:39"},
            ConfigError,
            "no event of 2019-08-14T21:10:39; the newest are 2026-11-20T03",
        ),
        ({"dateobs": (WHEN - timedelta(hours=1)).isoformat()}, ConfigError, "has no localization"),
        ({"dateobs": WHEN.isoformat(), "localization": "bad"}, ConfigError, "has no localization bad; it has new, old"),
        ({"days": 0}, ConfigError, "days"),
        ({"days": 3721}, ConfigError, "3720"),
        ({"cumprob": 1.5}, ConfigError, "cumprob"),
        ({"source": {"kind": "parquet", "path": "nowhere"}}, FormatError, "nowhere"),
        ({"output": "out.xyz"}, FormatError, "suffix"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(light_curves, fritz, options, error, words):
    with pytest.raises(error, match=words) as caught:
        door(light_curves, fritz, **options)
    assert "\n" not in str(caught.value)
    assert [path.name for path in light_curves.parent.iterdir()] == ["light_curves.parquet"]


def test_a_right_that_is_missing_is_not_taken_for_an_event(light_curves, fritz):
    def refused(path, params=None):
        raise NotAllowedError("not allowed for this token")

    fritz.get = refused
    with pytest.raises(NotAllowedError):
        door(light_curves, fritz, dateobs=WHEN.isoformat())
