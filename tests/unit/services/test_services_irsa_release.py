"""What is known of a release of bulk files without asking: its list of checksums, its addresses, what is asked of a star."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scope_ml.errors import ConfigError
from scope_ml.io.selection import Positions, Selection
from scope_ml.services.irsa.connection import check_address
from scope_ml.services.irsa.records import read_record, record_path, write_record
from scope_ml.services.irsa.release import LIST, Release
from scope_ml.services.irsa.settings import IrsaConfig
from scope_ml.services.irsa.star_files import wanted_stars

URL = "https://irsa.ipac.caltech.edu/data/ZTF/lc/lc_dr23"
SUMS = {name: name * 32 for name in "0123456789abcdef"}

LINES = f"""{SUMS["1"]}  ./0/field000250/ztf_000250_zr_c01_q1_dr23.parquet
{SUMS["A".lower()].upper()} *0/field000250/ztf_000250_zg_c01_q1_dr23.parquet
{SUMS["2"]}  ./0/field000250/ztf_000250_zg_c02_q1_dr23.parquet\r
{SUMS["3"]}  ./1/field001250/ztf_001250_zg_c01_q1_dr23.parquet
{SUMS["4"]}  ./0/field000250/ztf_000250_zg_c01_q1_dr22.parquet
{SUMS["5"]}  ./0/field000250/readme_ztf_000250_zg.txt
not a line of ztf_000250_zg_c01_q2_dr23.parquet
{SUMS["6"]}  ./0/field000250/ztf_000250_zi_c01_q1_dr23.parquet"""


def release(root, *, listed, nested=None):
    return Release(url=URL, number=23, root=root, nested=nested, listed=listed)


def test_list_says_what_exists(tmp_path):
    (tmp_path / LIST).write_bytes(LINES.encode())
    found = release(tmp_path, listed=True).files(Selection(field=250, ccd=1, quad=1), ())
    assert [(file.name.band, file.md5) for file in found] == [("g", SUMS["a"]), ("i", SUMS["6"]), ("r", SUMS["1"])]
    assert found[0].addresses == (f"{URL}/0/field000250/ztf_000250_zg_c01_q1_dr23.parquet",)
    assert found[0].local == tmp_path / "0/field000250/ztf_000250_zg_c01_q1_dr23.parquet"
    assert len(release(tmp_path, listed=True).files(Selection(field=250), ("g",))) == 2
    assert release(tmp_path, listed=True).files(Selection(field=251), ()) == []
    assert release(tmp_path, listed=True).has_field(1250) and not release(tmp_path, listed=True).has_field(125)


@pytest.mark.parametrize(
    ("nested", "folders"),
    [(True, ["/1/field001250/"]), (False, ["/field001250/"]), (None, ["/1/field001250/", "/field001250/"])],
)
def test_without_a_list_every_file_may_exist(tmp_path, nested, folders):
    files = release(tmp_path, listed=False, nested=nested).files(Selection(field=1250, ccd=16), ("g", "i"))
    assert len(files) == 8
    last = "ztf_001250_zi_c16_q4_dr23.parquet"
    assert [*files[-1].addresses] == [f"{URL}{folder}{last}" for folder in folders]


def test_layout_is_settled_by_the_first_file_that_exists(tmp_path):
    open_ = release(tmp_path, listed=False)
    assert open_.settled(f"{URL}/field000250/x.parquet").nested is False
    assert open_.settled(f"{URL}/0/field000250/x.parquet").nested is True
    assert read_record(tmp_path / ".release.json")["nested"] is True


def test_record_that_is_broken_is_none(tmp_path):
    path = record_path(tmp_path / "a.parquet")
    assert path.name.startswith(".") and read_record(path) is None
    write_record(path, {"size": 3})
    assert read_record(path)["size"] == 3 and read_record(path)["date"].endswith("Z")
    for text in ("{", "[1]", ""):
        path.write_text(text)
        assert read_record(path) is None


@pytest.mark.parametrize("url", ["ftp://a/b", "a/b", "http://a.b/c", "https://", "https://u:p@a/b", "https://a/b?x=1"])
def test_addresses_that_are_not_taken(url):
    with pytest.raises(ConfigError, match=r"source\.path"):
        check_address(url, "source.path")


def test_addresses_that_are_taken():
    assert check_address(f"{URL}/", "x") == URL
    assert check_address("http://127.0.0.1:80/a", "x") == "http://127.0.0.1:80/a"


@example(359.9999999999, 0.0, 2.0)
@given(st.floats(0, 360), st.floats(-90, 90), st.floats(0.01, 600))
@settings(max_examples=30, deadline=None)
def test_circle_is_written_in_plain_decimals_and_near_the_position(tmp_path_factory, ra, dec, radius):
    folder = tmp_path_factory.getbasetemp()
    (one,) = wanted_stars(IrsaConfig(), Selection(positions=Positions([ra], [dec], radius)), (), folder)
    word, *numbers = one.words["POS"].split()
    assert word == "CIRCLE" and not any(sign in text for text in numbers for sign in "eE+")
    asked_ra, asked_dec, asked_radius = map(float, numbers)
    assert 0 <= asked_ra < 360 and abs((asked_ra - ra + 180) % 360 - 180) < 1e-8 and abs(asked_dec - dec) < 1e-8
    assert radius < asked_radius * 3600 < radius + 1
    assert "-0" not in numbers


def test_each_question_has_a_file_of_its_own(tmp_path):
    here = Selection(positions=Positions([1.0], [2.0], 2.0))
    files = {
        wanted_stars(config, selection, bands, tmp_path)[0].file
        for config, selection, bands in [
            (IrsaConfig(), here, ()),
            (IrsaConfig(), here, ("g",)),
            (IrsaConfig(), Selection(positions=Positions([1.0], [2.0], 1.0)), ()),
            (IrsaConfig(collection="ztf_dr23"), here, ()),
            (IrsaConfig(bad_catflags_mask=0), here, ()),
            (IrsaConfig(light_curves="https://127.0.0.1/x"), here, ()),
            (IrsaConfig(format="votable"), here, ()),
        ]
    }
    # The form of a reply changes nothing that is kept.
    assert len(files) == 6
