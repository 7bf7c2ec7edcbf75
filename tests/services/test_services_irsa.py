"""IRSA's bulk files and its service for single stars, against a server on this machine that answers as documented."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import (
    ConfigError,
    DataError,
    EmptySelectionError,
    FormatError,
    OutputError,
    QueryRefusedError,
    ServiceError,
    ServiceUnavailableError,
)
from scope_ml.features.cleaning import Cleaning
from scope_ml.features.extract import FeatureChoice, PeriodSearch
from scope_ml.io.layouts import Chunk
from scope_ml.io.selection import Positions, Selection
from scope_ml.services.irsa import bulk, download
from scope_ml.services.irsa.bulk import BulkMirror
from scope_ml.services.irsa.settings import IrsaConfig
from scope_ml.services.irsa.stars import HOPELESS, IrsaStars
from scope_ml.services.settings import ServicesConfig
from scope_ml.stages.feature_sources import SourceConfig, open_source
from scope_ml.stages.feature_targets import TargetConfig
from scope_ml.stages.generate_features import GenerateFeatures, run
from scope_ml.testing.irsa import Fault, IrsaServer, main
from scope_ml.testing.irsa_light_curves import Epochs

QUADRANT = Selection(field=250, ccd=1, quad=1)

#: Epochs of each bulk light curve: files of some 50 kB.
N_EPOCHS = 40

#: Bytes after which a connection is cut, in the middle of a file.
CUT = 20_000

BANDS = {"g": 1, "r": 2, "i": 3}


def bulk_file(folder, *, field=250, ccd=1, quad=1, band="g", release=23, n_rows=60, rounded=False, seed=1):
    random = np.random.default_rng([seed, field, ccd, quad])
    first = (field * 1000 + BANDS[band] * 100 + ccd) * 10**9 + quad * 10**8
    days = np.sort(random.uniform(58200, 59800, (n_rows, N_EPOCHS)))
    table = pa.table(
        {
            "objectid": pa.array(first + np.arange(n_rows)),
            "filterid": pa.array(np.full(n_rows, BANDS[band]), pa.int8()),
            "fieldid": pa.array(np.full(n_rows, field), pa.int16()),
            "rcid": pa.array(np.full(n_rows, 4 * (ccd - 1) + quad - 1), pa.int8()),
            "objra": pa.array(random.uniform(40, 41, n_rows), pa.float32()),
            "objdec": pa.array(random.uniform(-29, -28, n_rows), pa.float32()),
            "nepochs": pa.array(np.full(n_rows, N_EPOCHS)),
            "hmjd": pa.array(days.tolist(), pa.list_(pa.float32() if rounded else pa.float64())),
            "mag": pa.array(random.normal(18, 0.3, days.shape).tolist(), pa.list_(pa.float32())),
            "magerr": pa.array(np.full(days.shape, 0.03).tolist(), pa.list_(pa.float32())),
            "catflags": pa.array(np.zeros(days.shape, int).tolist(), pa.list_(pa.uint16())),
        }
    )
    name = f"ztf_{field:06d}_z{band}_c{ccd:02d}_q{quad}_dr{release}.parquet"
    # Plain, so that files of other values have the same size and blocks.
    pq.write_table(table, folder / name, row_group_size=20, compression="none", use_dictionary=False)
    return folder / name


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """What the archive has: two filters of one quadrant, one of another, an early release with rounded times."""
    folder = tmp_path_factory.mktemp("archive")
    for band in ("g", "r"):
        bulk_file(folder, band=band)
    bulk_file(folder, quad=2)
    bulk_file(folder, release=5, rounded=True)
    return folder


@pytest.fixture(scope="module")
def servers(archive):
    with IrsaServer(bulk=archive) as listed, IrsaServer(bulk=archive, nested=False, checksums=False) as bare:
        yield {"listed": listed, "bare": bare}


@pytest.fixture(params=["listed", "bare"])
def server(request, servers):
    """A release with folders of 1000 and a list of checksums, and one with neither."""
    yield servers[request.param]
    _forget(servers[request.param])


@pytest.fixture
def listed(servers):
    yield servers["listed"]
    _forget(servers["listed"])


@pytest.fixture
def bare(servers):
    yield servers["bare"]
    _forget(servers["bare"])


def _forget(server):
    server.forget()
    server.bulk.version = ""


@pytest.fixture
def config(tmp_path):
    return IrsaConfig(
        mirror=str(tmp_path / "mirror"), cache=str(tmp_path / "stars"), backoff_s=0.01, timeout_s=5.0, retries=3
    )


def changed(config, **values):
    return IrsaConfig(**{**vars(config), **values})


def files_of(config):
    return sorted(path.name for path in Path(config.mirror).rglob("*.parquet") if ".parts" not in path.parts)


class Told:
    """Counts what a progress is told."""

    def __init__(self):
        self.tasks = []

    def start(self, what, total=None):
        self.tasks.append([what, total, 0])

    def advance(self, amount=1):
        self.tasks[-1][2] += amount

    def finish(self):
        pass


# ---- the server itself: what the documentation says, driven by requests and not by our client


def test_server_answers_ranges_as_http_says(listed, archive):
    url = f"{listed.release(23)}/0/field000250/ztf_000250_zg_c01_q1_dr23.parquet"
    whole = (archive / "ztf_000250_zg_c01_q1_dr23.parquet").read_bytes()
    head = requests.head(url, timeout=5)
    assert int(head.headers["Content-Length"]) == len(whole) and head.content == b""
    part = requests.get(url, headers={"Range": "bytes=100-", "If-Range": head.headers["ETag"]}, timeout=5)
    assert part.status_code == 206 and part.content == whole[100:]
    assert part.headers["Content-Range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"
    other = requests.get(url, headers={"Range": "bytes=100-", "If-Range": '"another"'}, timeout=5)
    assert other.status_code == 200 and other.content == whole
    assert requests.get(url, headers={"Range": f"bytes={len(whole)}-"}, timeout=5).status_code == 416
    assert requests.get(url, headers={"If-None-Match": head.headers["ETag"]}, timeout=5).status_code == 304


def test_server_lists_folders_and_checksums_and_nothing_else(servers):
    url = servers["listed"].release(23)
    assert "field000250" in requests.get(f"{url}/0/", timeout=5).text
    lines = requests.get(f"{url}/checksum.md5", timeout=5).text.splitlines()
    assert len(lines) == 3 and lines[0].endswith("  ./0/field000250/ztf_000250_zg_c01_q1_dr23.parquet")
    assert requests.get(f"{servers['listed'].release(5)}/checksums.md5", timeout=5).status_code == 200
    for path in ("field000250/", "checksums.md5", "0/field000251/", "0/field000250/ztf_000250_zi_c01_q1_dr23.parquet"):
        assert requests.get(f"{url}/{path}", timeout=5).status_code == 404
    bare = servers["bare"].release(23)
    assert requests.get(f"{bare}/checksum.md5", timeout=5).status_code == 404
    assert requests.get(f"{bare}/field000250/", timeout=5).status_code == 200


def test_server_listens_on_loopback_only():
    with pytest.raises(ConfigError, match=r"loopback only"):
        IrsaServer(host="0.0.0.0")


# ---- bulk files


def test_what_a_quadrant_needs_is_fetched_and_read_as_from_the_archive(server, config, archive):
    told = Told()
    mirror = BulkMirror(server.release(23), config, progress=told)
    source = mirror.open(QUADRANT)
    assert files_of(config) == ["ztf_000250_zg_c01_q1_dr23.parquet", "ztf_000250_zr_c01_q1_dr23.parquet"]
    assert source.n_rows == 120 and sum(len(chunk.batch) for chunk in source.chunks()) == 120
    n_bytes = sum((archive / name).stat().st_size for name in files_of(config))
    assert told.tasks[-1] == ["fetching 2 files of IRSA (bytes)", n_bytes, n_bytes]
    for path in source.files:
        assert path.read_bytes() == (archive / path.name).read_bytes()


def test_second_run_asks_nothing(server, config):
    first = BulkMirror(server.release(23), config).open(QUADRANT)
    server.forget()
    again = BulkMirror(server.release(23), config)
    assert again.open(QUADRANT).digest == first.digest
    assert again.n_requests == 0 and not server.asked


def test_only_wanted_bands_are_fetched(server, config):
    source = BulkMirror(server.release(23), config, bands=("r",)).open(QUADRANT)
    assert files_of(config) == ["ztf_000250_zr_c01_q1_dr23.parquet"] and source.n_rows == 60
    assert not [path for path in server.paths() if "_zg_" in path]


def test_quadrant_without_files_is_no_error_and_not_asked_for_twice(server, config):
    mirror = BulkMirror(server.release(23), config)
    assert mirror.open(Selection(field=250, ccd=9, quad=4)).n_rows == 0
    server.forget()
    assert BulkMirror(server.release(23), config).open(Selection(field=250, ccd=9, quad=4)).n_rows == 0
    assert server.paths("HEAD") == []


def test_filter_that_does_not_exist_is_asked_for_again_on_request(bare, config, archive, tmp_path):
    BulkMirror(bare.release(23), config).open(QUADRANT)
    absent = json.loads(next((tmp_path / "mirror").rglob(".ztf_000250_zi_c01_q1*.json")).read_text())
    assert absent["absent"] and absent["date"].endswith("Z")
    bare.forget()
    BulkMirror(bare.release(23), changed(config, refresh=True)).open(QUADRANT)
    assert len(bare.paths("HEAD")) == 3 and [path for path in bare.paths("GET") if path.endswith(".parquet")] == []


def test_field_that_the_release_does_not_have_is_said_so(server, config):
    with pytest.raises(EmptySelectionError, match=r"has nothing of field 251"):
        BulkMirror(server.release(23), config).open(Selection(field=251, ccd=1, quad=1))


def test_all_that_is_needed_is_said_before_it_is_fetched(server, config, caplog, archive):
    caplog.set_level("INFO")
    plan = BulkMirror(server.release(23), config).announce([QUADRANT, Selection(field=250, ccd=1, quad=2)])
    assert len(plan.wanted) == 3 and plan.n_bytes == sum(path.stat().st_size for path in archive.glob("*_dr23.parquet"))
    assert "3 files to fetch, 0." in caplog.text and files_of(config) == []
    assert all("parquet" not in path for path in server.paths("GET"))


@pytest.mark.parametrize("kind", ["cut", "reset", "status", "html"])
def test_passing_faults_are_overcome(server, config, kind, archive):
    server.faults.append(Fault(kind=kind, where="_zg_c01_q1", n_bytes=CUT, times=2, retry_after="0"))
    source = BulkMirror(server.release(23), config).open(QUADRANT)
    for path in source.files:
        assert path.read_bytes() == (archive / path.name).read_bytes()


def test_runs_at_once_fetch_each_file_once(bare, config):
    bare.faults.append(Fault(kind="slow", where="ztf_000250_zg_c01_q1_dr23", times=2, seconds=0.3))
    plain = BulkMirror(bare.release(23), config, bands=("g",))
    plain.announce([QUADRANT])
    asked = len(bare.paths())
    mirrors = [plain, BulkMirror(bare.release(23), config, bands=("g",))]
    with ThreadPoolExecutor(2) as threads:
        sources = list(threads.map(lambda mirror: mirror.open(QUADRANT), mirrors))
    assert [source.n_rows for source in sources] == [60, 60]
    fetched = [one for one in bare.asked[asked:] if one.method == "GET" and one.path.endswith("q1_dr23.parquet")]
    assert len(fetched) == 1


def test_download_goes_on_where_it_broke_off(bare, config, archive):
    bare.faults.append(Fault(kind="cut", where="_zg_c01_q1", n_bytes=CUT))
    BulkMirror(bare.release(23), config, bands=("g",)).open(QUADRANT)
    asked = [one for one in bare.asked if one.method == "GET" and one.path.endswith(".parquet")]
    size = (archive / "ztf_000250_zg_c01_q1_dr23.parquet").stat().st_size
    assert len(asked) == 2 and "Range" not in asked[0].headers
    start = int(asked[1].headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= CUT < size - 10_000 and asked[1].headers["If-Range"].startswith('"')


def test_killed_run_is_gone_on_with_by_the_next(bare, config, tmp_path):
    bare.faults.append(Fault(kind="cut", where="_zg_c01_q1", n_bytes=CUT))
    with pytest.raises(ServiceError, match=r"1 of 1 files could not be fetched.*type the same command again"):
        BulkMirror(bare.release(23), changed(config, retries=0), bands=("g",)).open(QUADRANT)
    assert files_of(config) == [] and list((tmp_path / "mirror").rglob(".parts/*.parquet"))
    bare.forget()
    assert BulkMirror(bare.release(23), config, bands=("g",)).open(QUADRANT).n_rows == 60
    assert [one.headers.get("Range", "") != "" for one in bare.asked if one.path.endswith("parquet")] == [False, True]
    assert not list((tmp_path / "mirror").rglob(".parts/*.parquet"))


@pytest.mark.parametrize("kind", ["no_range", "wrong_range"])
def test_server_that_takes_no_ranges_is_asked_from_the_start(bare, config, kind, archive):
    bare.faults.append(Fault(kind="cut", where="_zg_c01_q1", n_bytes=CUT))
    bare.faults.append(Fault(kind=kind, where="_zg_c01_q1"))
    source = BulkMirror(bare.release(23), config, bands=("g",)).open(QUADRANT)
    assert source.files[0].read_bytes() == (archive / source.files[0].name).read_bytes()


@pytest.mark.parametrize("kind", ["", "stale_range"])
def test_file_that_changes_between_two_pieces_is_fetched_from_the_start(config, kind, tmp_path):
    folder = tmp_path / "changing"
    folder.mkdir()
    path = bulk_file(folder, seed=1)
    with IrsaServer(bulk=folder, checksums=False) as server:
        server.faults.append(Fault(kind="cut", where="_zg_c01_q1", n_bytes=CUT))
        with pytest.raises(ServiceError):
            BulkMirror(server.release(23), changed(config, retries=0), bands=("g",)).open(QUADRANT)
        before = path.read_bytes()
        bulk_file(folder, seed=2)
        assert path.stat().st_size == len(before) and path.read_bytes() != before
        if kind:
            server.faults.append(Fault(kind=kind, where="_zg_c01_q1"))
        source = BulkMirror(server.release(23), config, bands=("g",)).open(QUADRANT)
        assert source.files[0].read_bytes() == path.read_bytes()


def test_web_page_in_place_of_a_file_is_named(bare, config):
    bare.faults.append(Fault(kind="html", where="_zg_c01_q1", times=99))
    with pytest.raises(
        ServiceError, match=r"_zg_c01_q1_dr23.parquet: it is no Parquet file, but begins as a web page \('Log in"
    ):
        BulkMirror(bare.release(23), config).open(QUADRANT)
    assert files_of(config) == ["ztf_000250_zr_c01_q1_dr23.parquet"]


def test_web_page_in_place_of_every_answer_is_named(server, config):
    for method in ("GET", "HEAD"):
        server.faults.append(Fault(kind="html", method=method, times=99))
    with pytest.raises(ServiceUnavailableError, match=r"lc_dr23/checksum.md5.*web page \('Log in"):
        BulkMirror(server.release(23), config).open(QUADRANT)


def test_archive_in_trouble_is_named_with_its_words(server, config):
    server.faults.append(Fault(kind="status", status=503, where="_zr_c01_q1", times=99))
    with pytest.raises(ServiceError, match=r"_zr_c01_q1_dr23.parquet: status 503"):
        BulkMirror(server.release(23), config).open(QUADRANT)
    server.faults.clear()
    assert BulkMirror(server.release(23), config).open(QUADRANT).n_rows == 120


def test_refusal_is_not_repeated(listed, config):
    BulkMirror(listed.release(23), config, bands=("g",)).open(QUADRANT)
    listed.forget()
    listed.faults.append(Fault(kind="status", status=403, where="_zr_", times=99))
    with pytest.raises(ServiceError, match=r"403"):
        BulkMirror(listed.release(23), config).open(QUADRANT)
    assert len(listed.paths("GET")) == 1


def test_file_that_does_not_fit_its_checksum_is_fetched_again_and_then_refused(archive, config, tmp_path):
    folder = tmp_path / "bad"
    shutil.copytree(archive, folder)
    with IrsaServer(bulk=folder) as server:
        BulkMirror(server.release(23), config).announce([QUADRANT])
        path = folder / "ztf_000250_zg_c01_q1_dr23.parquet"
        body = bytearray(path.read_bytes())
        body[5000] ^= 1
        path.write_bytes(bytes(body))
        with pytest.raises(ServiceError, match=r"_zg_c01_q1_dr23.parquet: its checksum is .* in the archive's list"):
            BulkMirror(server.release(23), config).open(QUADRANT)
        assert len([one for one in server.paths("GET") if "_zg_" in one]) == download.TIMES_BROKEN
    assert files_of(config) == ["ztf_000250_zr_c01_q1_dr23.parquet"]


@pytest.mark.parametrize("damage", ["footer", "block", "other quadrant"])
def test_broken_file_of_an_archive_without_checksums_gets_no_name(config, tmp_path, damage):
    folder = tmp_path / "bad"
    folder.mkdir()
    path = bulk_file(folder, ccd=2) if damage == "other quadrant" else bulk_file(folder)
    if damage == "other quadrant":
        path.rename(folder / "ztf_000250_zg_c01_q1_dr23.parquet")
    else:
        body = bytearray(path.read_bytes())
        page = pq.ParquetFile(path).metadata.row_group(2).column(7).data_page_offset
        at = slice(-40, -20) if damage == "footer" else slice(page, page + 20)
        body[at] = b"\xff" * len(body[at])
        path.write_bytes(bytes(body))
    with (
        IrsaServer(bulk=folder, checksums=False) as server,
        pytest.raises(ServiceError, match=r"1 of 1 files could not be fetched"),
    ):
        BulkMirror(server.release(23), config).open(QUADRANT)
    assert files_of(config) == []


def test_file_that_was_copied_into_the_mirror_is_looked_at(server, config, archive, tmp_path):
    folder = tmp_path / "mirror" / "lc_dr23" / "0" / "field000250"
    folder.mkdir(parents=True)
    shutil.copy(archive / "ztf_000250_zg_c01_q1_dr23.parquet", folder)
    cut = (archive / "ztf_000250_zr_c01_q1_dr23.parquet").read_bytes()[:-1000]
    (folder / "ztf_000250_zr_c01_q1_dr23.parquet").write_bytes(cut)
    assert BulkMirror(server.release(23), config).open(QUADRANT).n_rows == 120
    assert [path for path in server.paths("GET") if "_zg_" in path] == []
    server.forget()
    # One that was cut later is found out by its size.
    (folder / "ztf_000250_zr_c01_q1_dr23.parquet").write_bytes(cut)
    assert BulkMirror(server.release(23), config).open(QUADRANT).n_rows == 120
    assert len([path for path in server.paths("GET") if "_zr_" in path]) == 1


def test_refresh_fetches_what_has_changed(bare, config):
    BulkMirror(bare.release(23), config, bands=("g",)).open(QUADRANT)
    for version, n_fetched in (("", 0), ("another", 1)):
        bare.forget()
        bare.bulk.version = version
        BulkMirror(bare.release(23), changed(config, refresh=True), bands=("g",)).open(QUADRANT)
        assert len([path for path in bare.paths("GET") if path.endswith(".parquet")]) == n_fetched


def test_file_of_another_release_in_the_mirror_is_refused(listed, config, archive, tmp_path):
    BulkMirror(listed.release(23), config, bands=("g",)).open(QUADRANT)
    shutil.copy(
        archive / "ztf_000250_zg_c01_q1_dr5.parquet",
        tmp_path / "mirror/lc_dr23/0/field000250/ztf_000250_zi_c01_q1_dr5.parquet",
    )
    with pytest.raises((DataError, FormatError), match=r"dr5"):
        BulkMirror(listed.release(23), config).open(QUADRANT)


def test_mirror_of_another_address_is_refused(servers, config):
    BulkMirror(servers["listed"].release(23), config).announce([QUADRANT])
    with pytest.raises(ConfigError, match=r"is the mirror of .*service.irsa.mirror=FOLDER"):
        BulkMirror(servers["bare"].release(23), config).open(QUADRANT)


def test_full_disk_is_found_out_before(server, config, monkeypatch):
    monkeypatch.setattr(bulk.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**4))
    with pytest.raises(OutputError, match=r"GB free.*service.irsa.mirror=ANOTHER_FOLDER"):
        BulkMirror(server.release(23), config).open(QUADRANT)
    assert [path for path in server.paths("GET") if path.endswith("parquet")] == []


def test_rounded_times_of_early_releases_are_said_once(listed, config, caplog):
    mirror = BulkMirror(listed.release(5), config)
    for _ in range(2):
        source = mirror.open(QUADRANT)
    assert source.n_rows == 60 and caplog.text.count("float32") == 1
    assert next(iter(source.chunks())).batch.time.dtype == np.float64


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(), "all of it would be terabytes; give a field.*source=irsa_stars"),
        (Selection(ids=pa.array([7])), "1 ids is not known"),
        (Selection(positions=Positions([1.0], [2.0], 2.0)), "1 positions within 2 arcsec is not known"),
    ],
)
def test_selection_without_a_field_is_refused_before_anything_is_asked(listed, config, selection, words):
    with pytest.raises(ConfigError, match=words):
        BulkMirror(listed.release(23), config).open(selection)
    assert not listed.asked


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://irsa.ipac.caltech.edu/data/ZTF/lc/lc_dr23", "not https"),
        ("https://me:secret@127.0.0.1/lc_dr23", "password"),
        ("https://127.0.0.1/data", "names no data release"),
    ],
)
def test_odd_addresses_are_refused(config, url, words):
    with pytest.raises(ConfigError, match=words) as caught:
        BulkMirror(url, config).open(QUADRANT)
    assert "secret" not in str(caught.value)


def test_unknown_band_is_refused(config):
    with pytest.raises(ConfigError, match=r"band 'zg' is none of IRSA's; give any of g, r, i"):
        BulkMirror("https://127.0.0.1/lc_dr23", config, bands=("zg",))


def test_host_that_does_not_answer_is_named(config):
    with pytest.raises(ServiceUnavailableError, match=r"http://127.0.0.1:9/lc_dr23/checksum.md5"):
        BulkMirror("http://127.0.0.1:9/lc_dr23", changed(config, retries=1)).open(QUADRANT)


def test_redirects_lead_to_https_only_and_take_no_credentials(listed, config, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password sentinel\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    listed.faults.append(
        Fault(kind="redirect", where="_zg_c01_q1", location=listed.release(23).replace("127.0.0.1", "localhost"))
    )
    with pytest.raises(ServiceError, match=r"not https"):
        BulkMirror(listed.release(23), config, bands=("g",)).open(QUADRANT)
    target = f"{listed.release(23)}/0/field000250/ztf_000250_zg_c01_q1_dr23.parquet"
    listed.faults.append(Fault(kind="redirect", where="_zg_c01_q1", location=target))
    assert BulkMirror(listed.release(23), config, bands=("g",)).open(QUADRANT).n_rows == 60
    assert all("Authorization" not in one.headers for one in listed.asked)
    listed.faults.append(
        Fault(kind="redirect", where="_zr_", method="HEAD", location=listed.release(23) + "/_zr_", times=99)
    )
    with pytest.raises(ServiceError, match=r"redirected more than"):
        BulkMirror(listed.release(23), config).open(QUADRANT)


# ---- single stars

STARS = {"seam": (359.9999, 5.0), "south": (41.5, -28.2), "pole": (120.0, 89.9999), "pair": (200.0, 30.0)}


def star_epochs():
    """Stars with light curves in two bands each, one epoch flagged; `pair` has a neighbour at 3 arcsec."""
    places = [(*place, 1) for place in STARS.values()] + [(200.0, 30.0 + 3 / 3600, 2)]
    rows, curves = [], []
    for number, (ra, dec, _) in enumerate(places):
        for band, code in (("g", 1), ("r", 2)):
            rows.append(
                {"band": band, "ra": ra, "dec": dec, "field": 500 + number, "ccd": 3, "quad": 4, "filter": code}
            )
            curves.append((500 + number) * 10**12 + code * 10**11 + 2**20)
    random = np.random.default_rng(5)
    times = [np.sort(2458300 + random.uniform(0, 900, 30)) for _ in curves]
    flags = [np.where(np.arange(30) == 7, 32768, 0) for _ in curves]
    batch = LightCurveBatch.from_lists(
        curves, times, [random.normal(17, 0.2, 30) for _ in curves], [np.full(30, 0.02)] * len(curves), flags=flags
    )
    return Chunk(batch=batch, rows=pa.Table.from_pylist(rows).append_column("id", pa.array(curves)))


@pytest.fixture(scope="module")
def sky():
    return star_epochs()


@pytest.fixture(scope="module")
def service_of(sky):
    with IrsaServer(epochs=Epochs([sky])) as server:
        yield server


@pytest.fixture
def service(service_of):
    yield service_of
    service_of.forget()


@pytest.fixture(params=["csv", "votable"])
def asking(request, service, config):
    return changed(config, light_curves=service.light_curves, format=request.param)


@pytest.fixture
def asking_csv(service, config):
    return changed(config, light_curves=service.light_curves)


def at(*names, radius=2.0):
    ra, dec = zip(*(STARS[name] if isinstance(name, str) else name for name in names), strict=True)
    return Positions(ra, dec, radius)


def curves_of(source):
    return {curve.id: curve for chunk in source.chunks() for curve in chunk.batch}


def test_star_has_all_its_light_curves_exactly(asking, sky):
    source = IrsaStars(asking, positions=at("south"))
    curves = curves_of(source)
    assert len(curves) == source.n_rows == 2
    for row, name in enumerate(sky.batch.id.tolist()):
        if name in curves:
            assert curves[name].time.tolist() == sky.batch[row].time.tolist()
            assert curves[name].mag.tolist() == sky.batch[row].mag.tolist()
            assert curves[name].flags.tolist() == sky.batch[row].flags.tolist()
    facts = next(iter(source.chunks())).rows.to_pylist()
    assert [(one["band"], one["field"], one["ccd"], one["quad"], one["filter"]) for one in facts] == [
        ("g", 501, 3, 4, 1),
        ("r", 501, 3, 4, 2),
    ]
    assert facts[0]["ra"] == pytest.approx(41.5, abs=1e-4) and facts[0]["dec"] == pytest.approx(-28.2, abs=1e-9)


@pytest.mark.parametrize("place", ["seam", "pole", (0.0001, 5.0), (360.0, 5.0), (300.0, 90.0)])
def test_seam_and_poles(asking_csv, place):
    source = IrsaStars(asking_csv, positions=at(place))
    assert source.n_rows == 2 and source.missing() == ()


def test_radius_is_that_of_the_median_epoch(asking_csv):
    assert IrsaStars(asking_csv, positions=at("pair")).n_rows == 2
    assert IrsaStars(asking_csv, positions=at("pair", radius=3.2)).n_rows == 4
    # Asked for a little wider, and cut here.
    assert IrsaStars(asking_csv, positions=at("pair", radius=2.8)).n_rows == 2


def test_second_run_asks_nothing_and_positions_are_accounted_for(asking_csv, service):
    nobody = (10.0, 80.0)
    first = IrsaStars(asking_csv, positions=at("south", nobody, "pair"))
    assert len(service.paths()) == 0
    digest = first.digest
    account = first.account()
    assert (account.asked, account.answered, account.positions_asked) == (4, 4, 3)
    assert account.missing == ()
    assert [(one.ra, one.dec, one.again) for one in first.missing()] == [(10.0, 80.0, False)]
    assert len(service.paths()) == 3
    again = IrsaStars(asking_csv, positions=at("south", nobody, "pair"))
    assert again.digest == digest and again.n_requests == 0 and len(service.paths()) == 3
    assert again.account() == account
    IrsaStars(changed(asking_csv, refresh=True), positions=at("south")).fetch()
    assert len(service.paths()) == 4


def test_ids_are_asked_for_together_and_accounted_for(asking, service, sky):
    ids = [*sky.batch.id.tolist(), 2**53 + 1]
    source = IrsaStars(changed(asking, ids_a_request=4), ids=ids)
    assert sorted(curves_of(source)) == sorted(sky.batch.id.tolist())
    assert (source.account().asked, source.account().answered) == (11, 10)
    assert [one.id for one in source.account().missing] == [2**53 + 1]
    assert source.n_requests == 3


def test_light_curve_near_two_positions_comes_once(asking_csv):
    source = IrsaStars(asking_csv, positions=at("south", (41.5, -28.2 + 0.5 / 3600)))
    assert source.n_rows == 2 and source.missing() == ()


def test_bands_flags_and_times_go_into_the_question(asking_csv, service):
    source = IrsaStars(
        changed(asking_csv, bad_catflags_mask=32768, nobs_min=5, time=(58300.0, 58900.5), collection="ztf_dr23"),
        positions=at("south"),
        bands=("g",),
    )
    (curve,) = curves_of(source).values()
    assert not curve.flags.any() and curve.time.max() <= 2458901.0 and 5 < len(curve) < 30
    (path,) = service.paths()
    for words in (
        "BANDNAME=g",
        "BAD_CATFLAGS_MASK=32768",
        "NOBS_MIN=5",
        "TIME=58300+58900.5",
        "COLLECTION=ztf_dr23",
        "FORMAT=csv",
    ):
        assert words in path


@pytest.mark.parametrize("kind", ["status", "html", "reset", "cut"])
def test_passing_faults_of_the_service_are_overcome(asking, service, kind):
    service.faults.append(Fault(kind=kind, times=2, n_bytes=2500, retry_after="0"))
    assert IrsaStars(asking, positions=at("south")).n_rows == 2


def test_star_that_is_never_answered_is_named_and_asked_for_again(asking_csv, service):
    service.faults.append(Fault(kind="html", where="41.5", times=4))
    source = IrsaStars(asking_csv, positions=at("seam", "south", "pair"))
    assert source.n_rows == 4
    (missing,) = source.account().missing
    assert (missing.ra, missing.again) == (41.5, True) and "web page ('Log in" in missing.reason
    assert IrsaStars(asking_csv, positions=at("seam", "south", "pair")).n_rows == 6


def test_ids_that_fail_together_are_asked_for_one_by_one(asking_csv, service, sky):
    ids = sky.batch.id.tolist()[:3]
    service.faults.append(Fault(kind="status", status=500, where="%2C", times=99))
    source = IrsaStars(asking_csv, ids=ids)
    assert source.n_rows == 3 and source.missing() == ()


def test_service_that_is_down_ends_the_run(asking_csv, service):
    service.faults.append(Fault(kind="status", status=502, times=999))
    with pytest.raises(
        ServiceUnavailableError, match=r"answered none of the last 1 requests: .*502.*type the same command again"
    ):
        IrsaStars(changed(asking_csv, retries=1), positions=at("south")).fetch()
    service.asked.clear()
    many = Positions(np.linspace(1, 50, 40), np.zeros(40), 2.0)
    with pytest.raises(ServiceUnavailableError, match=rf"none of the last [{HOPELESS}{HOPELESS + 1}] requests"):
        IrsaStars(changed(asking_csv, retries=0), positions=many).fetch()
    assert len(service.paths()) <= HOPELESS + asking_csv.connections


def test_who_stops_a_run_does_not_wait_for_the_service(asking_csv, service):
    class Stopped(NullProgress):
        def advance(self, amount=1):
            if amount and len(service.paths()) > 1:
                raise KeyboardInterrupt

    service.faults.append(Fault(kind="slow", where="41.5", seconds=8.0))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        IrsaStars(asking_csv, positions=at("south", "seam"), progress=Stopped()).fetch()
    assert time.monotonic() - began < 4.0


def test_refused_question_is_not_repeated(asking_csv, service):
    service.faults.append(Fault(kind="status", status=400, times=999))
    with pytest.raises(QueryRefusedError, match=r"status 400"):
        IrsaStars(asking_csv, positions=at("south")).fetch()
    assert len(service.paths()) == 1


def test_reply_to_another_question_is_no_answer(asking_csv, service, monkeypatch, sky):
    monkeypatch.setattr(Epochs, "within", lambda self, *_: self.named({int(sky.batch.id[0])}))
    with pytest.raises(ServiceUnavailableError, match=r"it is that of another request"):
        IrsaStars(changed(asking_csv, retries=1), positions=at("south")).fetch()


def test_broken_or_foreign_kept_file_is_asked_for_again(asking_csv, service, tmp_path, caplog):
    digest = IrsaStars(asking_csv, positions=at("south", "pair")).digest
    south, pair = sorted((tmp_path / "stars").glob("*.parquet"))
    south.write_bytes(south.read_bytes()[:-100])
    assert IrsaStars(asking_csv, positions=at("south", "pair")).digest == digest
    assert len(service.paths()) == 3 and "asked for again" in caplog.text
    shutil.copy(south, pair)
    assert IrsaStars(asking_csv, positions=at("south", "pair")).digest == digest
    assert len(service.paths()) == 4


def test_nothing_is_kept_without_a_cache(asking_csv, service, tmp_path):
    source = IrsaStars(changed(asking_csv, cache=None), positions=at("south"))
    assert source.n_rows == 2 and len(list(source.chunks())) == 1
    assert not (tmp_path / "stars").exists()
    assert IrsaStars(changed(asking_csv, cache=None), positions=at("south")).digest == source.digest


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"positions": Positions([1.0], [2.0], 36_000.0)}, ConfigError, "36000 arcsec is no single star"),
        ({"positions": Positions([1.0], [2.0], 0.0)}, DataError, "radius is 0"),
        ({"positions": Positions([361.0], [2.0], 2.0)}, DataError, "ra=361"),
        ({"positions": Positions([1.0, 2.0, 3.0], [2.0] * 3, 2.0)}, ConfigError, "max_stars=2.*bulk files"),
        ({"ids": [1, 2, 3]}, ConfigError, "max_stars=2.*bulk files"),
        ({"ids": pa.array(["ZTF18abc"])}, DataError, "'ZTF18abc' is no id"),
        ({"ids": [1], "bands": ("z",)}, ConfigError, "band 'z' is none of IRSA's"),
        ({}, ConfigError, "either positions or ids"),
    ],
)
def test_odd_questions_are_refused_before_they_are_asked(asking_csv, service, given, error, words):
    with pytest.raises(error, match=words):
        IrsaStars(changed(asking_csv, max_stars=2), **given).fetch()
    assert not service.asked


def test_settings_are_checked():
    with pytest.raises(ConfigError, match=r"service.irsa.time=\[3.0, 2.0\] is no span"):
        IrsaConfig(time=(3.0, 2.0))
    with pytest.raises(ConfigError, match=r"is no data release"):
        IrsaConfig(collection="ztf dr23&FORMAT=html")


# ---- from the configuration to the table


def features_of(config, tmp_path, *, source, target, band=None, output="features.parquet"):
    return run(
        GenerateFeatures(
            source=SourceConfig(**{"path": None, "band": band, **source}),
            target=TargetConfig(**target),
            service=ServicesConfig(irsa=config),
            output=str(tmp_path / output),
            cleaning=Cleaning(min_n_obs=5, min_cadence_minutes=0.0),
            period_search=PeriodSearch(method="none"),
            features=FeatureChoice(groups=("basic",)),
        ),
        progress=NullProgress(),
    )


def test_features_of_quadrants_at_an_address_are_those_of_the_mirror(listed, config, tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "quadrants.dat").write_text("250 1 1\n250 1 2\n250 9 4\n")
    target = {"kind": "quadrant_list", "path": str(tmp_path / "quadrants.dat")}
    remote = {"kind": "irsa", "path": listed.release(23)}
    report = features_of(config, tmp_path, source=remote, target=target, output="remote")
    assert (report.n_in, report.n_out, report.facts["n_failed"]) == (180, 180, 0)
    assert "3 files to fetch" in caplog.text
    n_asked = len(listed.asked)
    mirror = {"kind": "irsa", "path": str(tmp_path / "mirror")}
    features_of(config, tmp_path, source=mirror, target=target, output="local")
    name = "field_000250/ccd_01_quad_1.parquet"
    ours, theirs = (pq.read_table(tmp_path / folder / name) for folder in ("remote", "local"))
    assert ours.num_rows == 120 and ours.equals(theirs)
    assert len(listed.asked) == n_asked


def test_features_of_single_stars_by_position(asking_csv, service, tmp_path):
    wanted = tmp_path / "wanted.csv"
    wanted.write_text("name,ra,dec\na,41.5,-28.2\nb,10.0,80.0\nc,200.0,30.0\n")
    target = {"kind": "source_ids", "path": str(wanted)}
    report = features_of(asking_csv, tmp_path, source={"kind": "irsa_stars"}, target=target, band="g")
    assert (report.n_in, report.n_out) == (2, 2)
    facts = report.facts
    assert (facts["sources_asked"], facts["sources_found"], facts["sources_not_found"]) == (3, 2, 1)
    assert (facts["ids_asked"], facts["ids_answered"], facts["positions_asked"]) == (2, 2, 3)
    assert not any("type the same command again" in line for line in report.warnings)
    assert pq.read_table(tmp_path / "features.parquet")["fritz_name"].to_pylist() == ["a", "c"]
    features_of(asking_csv, tmp_path, source={"kind": "irsa_stars"}, target=target, band="g")
    assert len(service.paths()) == 3


def test_star_without_an_answer_is_in_the_report_and_comes_the_next_time(asking_csv, service, tmp_path):
    wanted = tmp_path / "wanted.csv"
    wanted.write_text("ra,dec\n41.5,-28.2\n200.0,30.0\n")
    target = {"kind": "source_ids", "path": str(wanted)}
    service.faults.append(Fault(kind="status", where="41.5", times=4))
    report = features_of(asking_csv, tmp_path, source={"kind": "irsa_stars"}, target=target)
    assert report.n_out == 2 and report.facts["ids_open"] == 1
    assert any("type the same command again" in line for line in report.warnings)
    again = features_of(asking_csv, tmp_path, source={"kind": "irsa_stars"}, target=target)
    assert again.n_out == 4 and again.facts["ids_open"] == 0


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ({"kind": "irsa_stars"}, {"kind": "all"}, "target=source_ids target.path=FILE"),
        ({"kind": "irsa_stars", "path": "x"}, {"kind": "all"}, "leave it out"),
        (
            {"kind": "irsa", "path": "http://irsa.ipac.caltech.edu/lc_dr23"},
            {"kind": "quadrant", "field": 250, "ccd": 1, "quad": 1},
            "not https",
        ),
        ({"kind": "irsa", "path": "https://127.0.0.1/lc_dr23"}, {"kind": "all"}, "all of it would be terabytes"),
    ],
)
def test_sources_and_targets_that_do_not_go_together_say_what_to_type(config, tmp_path, source, target, words):
    with pytest.raises(ConfigError, match=words):
        features_of(config, tmp_path, source=source, target=target)


@pytest.mark.parametrize(
    "source", [{"kind": "irsa_stars", "path": None}, {"kind": "irsa", "path": "https://127.0.0.1/lc_dr23"}]
)
def test_other_doors_read_files_only(source):
    with pytest.raises(ConfigError, match=r"read from files here"):
        open_source(SourceConfig(**source))


def test_server_can_be_tried_by_hand(archive, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(
        IrsaServer, "wait", lambda self: seen.append(requests.get(self.release(5), timeout=5).status_code)
    )
    assert main([str(archive), "--flat"]) == 0
    assert seen == [200]
    said = capsys.readouterr().out
    assert "source.path=http://127.0.0.1:" in said and "/data/ZTF/lc/lc_dr5\n" in said and "source=irsa_stars" in said
    with IrsaServer() as other:
        assert main([str(archive), "--port", other.address.rpartition(":")[2]]) == 2
    assert "cannot listen on port" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(archive / "nowhere")])
    assert "is no folder" in capsys.readouterr().err
