"""`fritz_upload` against a SkyPortal: what it posts, what it finds wrong before, and that nothing is lost or done twice.

The great test kills the command again and again, at requests drawn by chance, and starts it again: the end state is that of
an undisturbed run. Each life is a process of its own, forked off one that has imported everything.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import (
    ConfigError,
    CredentialError,
    DataError,
    EmptySelectionError,
    NotAllowedError,
    ReplyError,
    ScopeError,
)
from scope_ml.io.tables import read_table
from scope_ml.stages import upload_classes, upload_wanted
from scope_ml.stages.fritz_upload import FritzUpload, run

NAMES = functools.cache(upload_classes._names)

CLASSES = {"vnv": "variable", "pnp": "periodic", "ea": "EA", "rrlyr": "RR Lyrae", "agn": "AGN"}

#: MJD 58300 as HJD.
HJD = 2_458_300.5


def made_table(folder: Path, n: int, name: str = "stars.parquet") -> Path:
    """Stars 36 arcsec apart with five classes each, periods and ids."""
    rng = np.random.default_rng(5)
    scores = {tag: rng.uniform(0.3, 1.0, n).round(4) for tag in CLASSES}
    columns = {
        "ra": (359.99 + 0.01 * np.arange(n)) % 360.0,
        "dec": np.full(n, -1.5),
        "period": rng.uniform(0.1, 10.0, n).round(6),
        "survey_id": [f"Gaia_EDR3___{10**15 + at}" for at in range(n)],
        **scores,
    }
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def made_curves(folder: Path, table: Path, n_points: int = 12) -> Path:
    """A g and an r light curve of each star."""
    rows = pq.read_table(table, columns=["ra", "dec"]).to_pydict()
    n = len(rows["ra"])
    rng = np.random.default_rng(6)
    times = [(HJD + 3 * np.arange(n_points) + rng.uniform(0, 1, n_points)).round(6).tolist() for _ in range(2 * n)]
    columns = {
        "id": list(range(1, 2 * n + 1)),
        "ra": np.repeat(rows["ra"], 2),
        "dec": np.repeat(rows["dec"], 2),
        "filter": pa.array([1, 2] * n, pa.int32()),
        "hjd": times,
        "mag": [rng.normal(17, 0.3, n_points).round(3).tolist() for _ in times],
        "magerr": [[0.02] * n_points] * (2 * n),
        "catflags": [[0] * (n_points - 1) + [1]] * (2 * n),
        **{name: [1] * (2 * n) for name in ("field", "ccd", "quad")},
    }
    pq.write_table(pa.table(columns), folder / "curves.parquet")
    return folder / "curves.parquet"


def options(portal: Any, folder: Path, **given: Any) -> dict[str, Any]:
    values = {
        "table": str(folder / "stars.parquet"),
        "output": str(folder / "upload"),
        "groups": ["Variables"],
        "classifications": "read",
        "settle_s": 0.05,
        "service": {"fritz": portal.config | given.pop("fritz", {})},
        **given,
    }
    return values


def upload(portal: Any, folder: Path, **given: Any) -> Report:
    return run(build(FritzUpload, options(portal, folder, **given)), progress=NullProgress())


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the 52 classes are read once, and plots are words: what they show is tested where they are drawn."""
    monkeypatch.setattr(upload_classes, "_names", NAMES)
    for name in ("time_series_png", "folded_png"):
        monkeypatch.setattr(upload_wanted, name, lambda curves, *words: repr((len(curves), *words)).encode())


@pytest.fixture
def stars(tmp_path: Path) -> Path:
    """A folder with three stars and their light curves."""
    made_curves(tmp_path, made_table(tmp_path, 3))
    return tmp_path


def everything(folder: Path) -> dict[str, Any]:
    """Options that upload all there is."""
    return {
        "source": {"path": str(folder / "curves.parquet"), "layout": "scope"},
        "survey_id": {"post": True},
        "comment": "seen as {obj_id}",
        "plots": {"kind": "folded"},
    }


def changes(portal: Any, since: int) -> list[dict[str, Any]]:
    return [one for one in portal.requests_since(since) if one["method"] != "GET"]


def test_a_plan_changes_nothing_and_is_carried_out_once(skyportal: Any, stars: Path) -> None:
    groups = ["Variables", skyportal.groups["Follow-up"]]
    planned = upload(skyportal, stars, groups=groups, **everything(stars))
    assert skyportal.state()["sources"] == {}
    assert planned.facts["applied"] is False
    assert {"plan.parquet", "plan.json"} <= {path.name for path in (stars / "upload").iterdir()}
    done = upload(skyportal, stars, groups=groups, apply=True, obj_ids={"write": True}, **everything(stars))
    assert not done.facts["n_failed"]
    found = skyportal.state()["sources"]
    assert list(found) == ["ZTFJ000000.00-013000.0", "ZTFJ000002.40-013000.0", "ZTFJ235957.60-013000.0"]
    one = found["ZTFJ000000.00-013000.0"]
    table = pq.read_table(stars / "stars.parquet").to_pylist()[1]
    assert one["groups"] == ["Follow-up", "Variables"]
    assert {each["classification"]: each["probability"] for each in one["classifications"]} == {
        label: table[tag] for tag, label in CLASSES.items()
    }
    for each in one["classifications"]:
        assert (each["origin"], each["ml"], each["votes"], each["groups"]) == ("SCoPe", True, {}, one["groups"])
    assert one["labels"] == []
    assert one["annotations"]["uploadedperiod"]["data"] == {"period": table["period"]}
    assert one["annotations"]["SCoPe_xmatch"]["data"] == {"survey_id": table["survey_id"]}
    name = "ZTFJ000000.00-013000.0"
    assert sorted((each["text"], each["attachment"]) for each in one["comments"]) == [
        (f"ZTF source within 2.0 arcsec of {name}: phase-folded", f"{name}_phasefold.png"),
        (f"ZTF source within 2.0 arcsec of {name}: time series", f"{name}.png"),
        (f"seen as {name}", None),
    ]
    assert {path.name for path in (stars / "upload" / "plots").iterdir()} == {
        f"{each}{end}" for each in found for end in (".png", "_phasefold.png")
    }
    title = f"{name}: {', '.join(CLASSES.values())}"
    assert (stars / "upload" / "plots" / f"{name}.png").read_text() == repr((2, title))
    assert (stars / "upload" / "plots" / f"{name}_phasefold.png").read_text() == repr((2, title, table["period"]))
    assert len(one["photometry"]) == 22
    curves = pq.read_table(stars / "curves.parquet").to_pylist()[2]
    first = min((each for each in one["photometry"] if each["filter"] == "ztfg"), key=lambda each: each["mjd"])
    assert first["mjd"] == pytest.approx(curves["hjd"][0] - 2_400_000.5, abs=1e-9)
    assert first["mag"] == pytest.approx(curves["mag"][0], abs=1e-6)
    named = read_table(stars / "upload" / "stars_fritzUpload.parquet").data
    assert named["obj_id"].to_pylist() == ["ZTFJ235957.60-013000.0", "ZTFJ000000.00-013000.0", "ZTFJ000002.40-013000.0"]
    began = skyportal.n_requests
    again = upload(skyportal, stars, groups=groups, apply=True, **everything(stars))
    assert not again.facts["n_failed"]
    assert skyportal.state()["sources"] == found
    assert [one for one in changes(skyportal, began) if one["status"] == 200] == []


def test_what_scope_posted_is_not_posted_again(skyportal: Any, stars: Path) -> None:
    """Its source lies a little beside, with one class, photometry and plot of the star; a Gaia name has another source."""
    rows = pq.read_table(stars / "stars.parquet").to_pylist()
    skyportal.add("source", obj_id="ZTFJ_old", ra=rows[0]["ra"] + 0.0002, dec=rows[0]["dec"], groups=["Follow-up"])
    skyportal.add("source", obj_id="Other", ra=rows[0]["ra"], dec=rows[0]["dec"])
    skyportal.add("classification", obj_id="ZTFJ_old", classification="EA", probability=0.1, groups=["Variables"])
    text = "ZTF source within 2.0 arcsec of ZTFJ_old: time series"
    skyportal.add("comment", obj_id="ZTFJ_old", text=text, user="scope")
    plan = upload(skyportal, stars, rows={"stop": 1}, **everything(stars)).facts["plan"]
    assert {kind: n for kind, n in plan.items() if n} == {
        "save": 1, "photometry": 1, "annotate": 2, "comment": 2, "classify": 4, "left": 1,
    }, "that the source is in another group only is told"  # fmt: skip
    report = upload(skyportal, stars, apply=True, rows={"stop": 1}, **everything(stars))
    assert not report.facts["n_failed"]
    state = skyportal.state()["sources"]
    assert set(state) == {"ZTFJ_old", "Other"}
    old = state["ZTFJ_old"]
    assert old["groups"] == ["Follow-up", "Variables"]
    assert [one["classification"] for one in old["classifications"]].count("EA") == 1
    assert len(old["classifications"]) == 5
    assert [one["text"] for one in old["comments"]].count(text) == 1
    assert state["Other"]["classifications"] == []


def test_replacing_keeps_to_its_scope(skyportal: Any, stars: Path) -> None:
    (row,) = pq.read_table(stars / "stars.parquet").slice(0, 1).to_pylist()
    skyportal.add("source", obj_id="ZTFJ1", ra=row["ra"], dec=row["dec"])
    for user, origin, label in (("scope", "SCoPe", "EW"), ("scope", "other", "EB"), ("astronomer", "SCoPe", "RRc")):
        skyportal.add("classification", obj_id="ZTFJ1", classification=label, user=user, origin=origin)

    def labels(**given: Any) -> set[str]:
        upload(skyportal, stars, apply=True, rows={"stop": 1}, **given)
        return {one["classification"] for one in skyportal.state()["sources"]["ZTFJ1"]["classifications"]}

    ours = set(CLASSES.values())
    assert labels() == ours | {"EW", "EB", "RRc"}
    assert labels(replace_classifications="origin") == ours | {"EB", "RRc"}


def test_votes_and_labels_are_given_if_they_are_asked_for(skyportal: Any, stars: Path) -> None:
    posted = {"vote": True, "label": True, "ml": False, "origin": "mine"}
    upload(skyportal, stars, apply=True, rows={"stop": 1}, posted=posted, classifications=["rrlyr"])
    (source,) = skyportal.state()["sources"].values()
    (one,) = source["classifications"]
    assert (one["ml"], one["origin"], one["votes"]) == (False, "mine", {"scope": 1})
    assert source["labels"] == [["scope", "Variables"]]


def test_a_source_with_the_survey_id_wins(skyportal: Any, stars: Path) -> None:
    (row,) = pq.read_table(stars / "stars.parquet").slice(0, 1).to_pylist()
    for name, far in (("ZTFJ1", 0.0), ("Named", 0.0003)):
        skyportal.add("source", obj_id=name, ra=row["ra"] + far, dec=row["dec"])
    skyportal.add("annotation", obj_id="Named", origin="SCoPe_xmatch", data={"survey_id_2": row["survey_id"]})
    find = {"match_ids": True}
    upload(skyportal, stars, apply=True, rows={"stop": 1}, find=find)
    state = skyportal.state()["sources"]
    assert (len(state["ZTFJ1"]["classifications"]), len(state["Named"]["classifications"])) == (0, 5)


def test_new_sources_without_light_curves_are_left_and_counted(skyportal: Any, stars: Path) -> None:
    curves = pq.read_table(stars / "curves.parquet")
    pq.write_table(curves.slice(2), stars / "curves.parquet")
    source = {"path": str(stars / "curves.parquet"), "layout": "scope"}
    report = upload(skyportal, stars, apply=True, source=source, obj_ids={"write": True})
    assert len(skyportal.state()["sources"]) == 2
    named = read_table(Path(report.outputs["obj_ids"])).data["obj_id"].to_pylist()
    assert sorted(named) == ["", *skyportal.state()["sources"]]
    assert report.facts["plan"]["left"] == 1
    assert not report.facts["n_failed"]
    receipt = read_table(stars / "upload" / "receipt.parquet").data.to_pylist()
    assert [one["message"] for one in receipt if one["status"] == "left"] == [
        "is not on Fritz, and is not made: no light curve within find.radius_arcsec"
    ]
    upload(skyportal, stars, apply=True)
    assert len(skyportal.state()["sources"]) == 3, "without light curves none are needed"


def test_sources_without_a_class_are_left_out_unless_they_are_wanted(skyportal: Any, stars: Path) -> None:
    columns = pq.read_table(stars / "stars.parquet").to_pydict() | {"vnv": [0.1, 0.9, 0.1]}
    pq.write_table(pa.table(columns), stars / "stars.parquet")
    given = {"classifications": ["vnv"], "p_threshold": 0.5, "source": everything(stars)["source"], "apply": True}
    report = upload(skyportal, stars, **given)
    assert any("2 of 3 sources have no class to post" in line for line in report.warnings)
    state = skyportal.state()["sources"]
    assert [(name, len(one["photometry"])) for name, one in state.items()] == [("ZTFJ000000.00-013000.0", 22)]
    upload(skyportal, stars, unclassified="save", **given)
    assert sorted(len(one["classifications"]) for one in skyportal.state()["sources"].values()) == [0, 0, 1]


def test_all_that_fritz_lacks_is_told_at_once(skyportal: Any, stars: Path) -> None:
    columns = pq.read_table(stars / "stars.parquet").to_pydict() | {"vnv": [0.5, 2.0, 0.1]}
    pq.write_table(pa.table(columns), stars / "stars.parquet")
    began = skyportal.n_requests
    with pytest.raises(DataError) as caught:
        upload(
            skyportal,
            stars,
            apply=True,
            groups=["Variabels", "Closed", "Variables"],
            taxonomy={"ontological": {"name": "Scope Phenomenological Taxonomy"}},
            photometry={"instrument": "LSST"},
            source={"path": str(stars / "curves.parquet")},
        )
    told = str(caught.value)
    assert told.startswith("5 things are wrong, nothing was posted:")
    for words in ("row 2", "did you mean 'Variables'", "not in the group Closed", "RR Lyrae", "no instrument 'LSST'"):
        assert words in told, words
    assert changes(skyportal, began) == []


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"p_threshold": 1.0}, EmptySelectionError, "no source of"),
        ({"fritz": {"token_env": "NO_SUCH_VARIABLE"}}, CredentialError, "NO_SUCH_VARIABLE"),
        ({"classifications": ["sin"]}, ConfigError, "no column or class 'sin'"),
        ({"mapper": "numbers.json", "classifications": ["vnv"]}, ConfigError, "1017"),
    ],
)
def test_one_thing_that_is_wrong_is_one_line(
    skyportal: Any, stars: Path, given: Any, error: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stars)
    numbers = {"vnv": {"fritz_label": "variable", "taxonomy_id": 1017}}
    Path("numbers.json").write_text(json.dumps(numbers), encoding="utf-8")
    with pytest.raises(error, match=words) as caught:
        upload(skyportal, stars, apply=True, **given)
    assert "\n" not in str(caught.value)
    assert skyportal.state()["sources"] == {}


def test_mappers_of_scope_find_their_numbers_by_name(skyportal: Any, stars: Path) -> None:
    upload(skyportal, stars, apply=True, mapper="fritz", classifications=["vnv"])
    posted = [one for source in skyportal.state()["sources"].values() for one in source["classifications"]]
    assert posted
    assert {one["classification"] for one in posted} == {"variable"}


def test_only_rights_that_are_needed_are_asked_for(
    skyportal: Any, stars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = pq.read_table(stars / "stars.parquet").slice(0, 1).to_pylist()
    skyportal.add("source", obj_id="ZTFJ1", ra=row["ra"], dec=row["dec"])
    monkeypatch.setenv("LESS", skyportal.add("token", user="scope", rights=["Classify"]))
    less = {"fritz": {"token_env": "LESS"}, "apply": True}
    with pytest.raises(NotAllowedError, match="Upload data, Annotate"):
        upload(skyportal, stars, **less)
    assert skyportal.state()["sources"]["ZTFJ1"]["classifications"] == []
    report = upload(skyportal, stars, rows={"stop": 1, "period": None}, output=str(stars / "one"), **less)
    assert not report.facts["n_failed"]
    assert len(skyportal.state()["sources"]["ZTFJ1"]["classifications"]) == 5


def test_a_web_page_is_no_service(skyportal: Any, stars: Path) -> None:
    skyportal.faults.add(kind="not_json")
    with pytest.raises(ReplyError):
        upload(skyportal, stars, apply=True)


def test_a_lost_right_in_the_middle_keeps_what_is_done(skyportal: Any, stars: Path) -> None:
    skyportal.faults.add(kind="lost_right", method="POST", path="classification", after=2, times=1)
    with pytest.raises(ScopeError, match="Classify"):
        upload(skyportal, stars, apply=True)
    assert skyportal.token not in "".join(
        path.read_text(errors="replace") for path in (stars / "upload").iterdir() if path.is_file()
    )


#: Runs the command until it has ended by itself; a life ends at its n-th request: before it is sent, while it is under way
#: or right after its answer. Says how often it was killed.
LIVES = """
import functools, json, os, random, signal, sys, threading
import numpy, pyarrow.parquet, requests, scipy.sparse.csgraph, scipy.spatial
from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.fritz_upload import DOOR
from scope_ml.stages import fritz_upload, upload_classes

plan = json.loads(sys.argv[1])
if plan["values"]:
    # Without Hydra and the files of the classes, which take most of a short life.
    upload_classes._names = functools.cache(upload_classes._names)
    upload_classes._names(())
chance = random.Random(plan["seed"])
send = requests.Session.request


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def live(at, when, only_changes, delay):
    lock, seen = threading.Lock(), [0]

    def counted(self, method, url, **words):
        with lock:
            if method != "GET" or not only_changes:
                seen[0] += 1
            is_last = seen[0] == at and (method != "GET" or not only_changes)
        if is_last and when == "before":
            die()
        if is_last and when == "while":
            threading.Timer(delay, die).start()
        try:
            return send(self, method, url, **words)
        finally:
            # Whatever came of it, a fault too.
            if is_last and when == "after":
                die()

    requests.Session.request = counted
    if not plan["values"]:
        return DOOR.open(plan["words"])
    report = fritz_upload.run(build(fritz_upload.FritzUpload, plan["values"]), progress=NullProgress())
    return int(bool(report.facts["n_failed"]))


kills = failures = 0
while True:
    last = kills >= plan["kills"]
    at = chance.randint(1, plan["span"]) if not last else -1
    drawn = at, chance.choice(["before", "while", "after"]), chance.random() < 0.8, chance.uniform(0, 0.006)
    child = os.fork()
    if not child:
        code = 70
        try:
            code = live(*drawn)
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        kills += 1
    elif os.WEXITSTATUS(status) and failures < plan["retries"]:
        failures += 1
    else:
        print(json.dumps({"kills": kills, "failures": failures, "code": os.WEXITSTATUS(status)}))
        break
"""


def words_of(values: dict[str, Any]) -> list[str]:
    """A command line that gives these options."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return f"[{','.join(map(text, value))}]"
        return json.dumps(value) if isinstance(value, (bool, int, float)) else f"'{value}'"

    found = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += words_of({f"{key}.{inner}": one for inner, one in value.items()})
        else:
            found.append(f"{key}={text(value)}")
    return found


def killed(
    portal: Any, folder: Path, *, kills: int, span: int, seed: int, retries: int = 0, door: bool = True, **given: Any
) -> dict[str, Any]:
    """Run the command in the folder until it is done, with so many kills; return what became of it.

    With `door` the whole command, else what it does behind its command line. Where sources failed, as they may where every
    tenth request goes wrong, it is typed again, `retries` times at most.
    """
    values = options(portal, folder, apply=True, show_rows=0, **given)
    plan = {"words": words_of(values), "values": {} if door else values}
    plan |= {"kills": kills, "span": span, "seed": seed, "retries": retries}
    environment = os.environ | {portal.variable: portal.token, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LIVES, json.dumps(plan)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcome: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert outcome["code"] == 0, done.stderr[-3000:]
    assert portal.token not in done.stdout + done.stderr
    return outcome


def test_killed_and_started_again_it_ends_as_if_nothing_had_been(skyportal: Any, tmp_path: Path) -> None:
    made_curves(tmp_path, made_table(tmp_path, 8), n_points=4)
    given = {"source": {"path": str(tmp_path / "curves.parquet"), "layout": "scope"}}
    upload(skyportal, tmp_path, apply=True, output=str(tmp_path / "undisturbed"), **given)
    expected = skyportal.state()
    skyportal.reset()
    outcome = killed(skyportal, tmp_path, kills=4, span=10, seed=3, door=False, **given)
    assert outcome["kills"] == 4
    assert skyportal.state() == expected


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("n", "kills", "faults"), [(500, 50, False), (100, 20, True)], ids=["kills", "kills and faults"]
)
def test_many_sources_of_5_classes_survive_many_kills(
    skyportal: Any, tmp_path: Path, n: int, kills: int, faults: bool
) -> None:
    """Slow: as many times as it is killed all sources are looked at; with faults, time-outs are waited for."""
    made_curves(tmp_path, made_table(tmp_path, n))
    given = {
        "source": {"path": str(tmp_path / "curves.parquet"), "layout": "scope"},
        "survey_id": {"post": True},
        "comment": "seen as {obj_id}",
    }
    upload(skyportal, tmp_path, apply=True, output=str(tmp_path / "undisturbed"), **given)
    expected = skyportal.state()
    assert sum(len(one["classifications"]) for one in expected["sources"].values()) == 5 * n
    skyportal.reset()
    if faults:
        add_faults(skyportal)
    patient = {"timeout_s": 1.0, "retries": 12} if faults else {}
    # Six changes a source, at most; half of the span is the mean of a life.
    span = 32 * n // (5 * kills)
    outcome = killed(skyportal, tmp_path, kills=kills, span=span, seed=7, retries=5 * faults, fritz=patient, **given)
    skyportal.faults.clear()
    skyportal.settle()
    assert outcome["kills"] == kills
    assert skyportal.state() == expected


def add_faults(portal: Any) -> None:
    """One request in ten goes wrong, in one of five ways."""
    kinds = (
        {"kind": "html", "status": 429},
        {"kind": "error", "status": 500},
        {"kind": "html", "status": 504, "stored": "before"},
        {"kind": "reset", "stored": "before"},
        {"kind": "hang", "seconds": 1.0},
    )
    for seed, one in enumerate(kinds):
        portal.faults.add(probability=0.02, seed=seed, **one)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_500_sources_of_5_classes_survive_faults(skyportal: Any, tmp_path: Path) -> None:
    """Slow: timeouts are waited for."""
    made_curves(tmp_path, made_table(tmp_path, 500))
    given = {"source": {"path": str(tmp_path / "curves.parquet"), "layout": "scope"}}
    upload(skyportal, tmp_path, apply=True, output=str(tmp_path / "undisturbed"), **given)
    expected = skyportal.state()
    skyportal.reset()
    add_faults(skyportal)
    failed = []
    while not failed or (failed[-1] and len(failed) < 5):
        report = upload(skyportal, tmp_path, apply=True, fritz={"timeout_s": 1.0, "retries": 12}, **given)
        failed.append(report.facts["n_failed"])
    skyportal.faults.clear()
    assert failed[0] < 25, "three tries in a row go wrong only rarely"
    assert failed[-1] == 0
    assert skyportal.state() == expected


def test_light_curves_come_from_kowalski(
    skyportal: Any, kowalski: Any, kowalski_tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    curves = kowalski_tables["ZTF_sources"].to_pylist()
    star = [one for one in curves if one["source_id"] == curves[0]["source_id"]]
    columns = {"ra": [star[0]["ra"]], "dec": [star[0]["dec"]], "vnv": [1.0]}
    pq.write_table(pa.table(columns), tmp_path / "stars.parquet")
    services = {
        "fritz": skyportal.config,
        "kowalski": {"instances": kowalski.instances, "cache": None, "backoff_s": 0.01, "retries": 1},
    }
    source = {"kind": "kowalski"}
    collections = {"collections": {"sources": kowalski.sources}}
    upload(skyportal, tmp_path, apply=True, source=source, survey=collections, service=services)
    (found,) = skyportal.state()["sources"].values()
    clean = sum(flag == 0 for one in star for flag in one["catflags"])
    assert len(star) > 1
    assert len(found["photometry"]) == clean
