"""Replies of IRSA's light-curve service: what is read, in both forms, and what is refused."""

import io
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import QueryRefusedError, ReplyError
from scope_ml.services.irsa.replies import COLUMNS, html_title, light_curves, no_light_curves
from scope_ml.services.irsa.votable import read_votable

HEADER = (
    "oid,expid,hjd,mjd,mag,magerr,catflags,filtercode,ra,dec,chi,sharp,filefracday,field,ccdid,qid,limitmag,magzp,magzprms,"
    "clrcoeff,clrcounc,exptime,airmass,programid\n"
)

#: As the service wrote it.
ROW = (
    "675103300002930,44835315,2458202.8577286243,58202.353159699996,18.6746521,0.0466535166,0,zg,209.9900551,29.9976258"
)
REST = "0.9,0.1,20180325353148,675,3,3,20.4,26.1,0.03,-0.05,0.001,30,1.1,1"


def epoch(oid=675103300002930, hjd=2458202.8577286243, band="zg", ra=209.99, dec=29.99, **other):
    values = {"flags": 0, "mag": 18.5, "magerr": 0.05, "program": 1} | other
    return (
        f"{oid},1,{hjd!r},{hjd - 2400000.5!r},{values['mag']},{values['magerr']},{values['flags']},{band},{ra!r},{dec!r},"
        f"1,0,2018,675,3,3,20,26,0.1,0,0,30,1.1,{values['program']}\n"
    )


def csv(*rows):
    return (HEADER + "".join(rows)).encode()


def votable(body, status="OK", words="", doctype=""):
    lines = body.decode().splitlines()
    names = lines[0].split(",")
    types = {"oid": "long", "filtercode": "char", "catflags": "int", "programid": "int", "field": "int"}
    fields = "".join(f'<FIELD name="{name}" datatype="{types.get(name, "double")}"/>' for name in names)
    fields = fields.replace('"char"', '"char" arraysize="*"')
    rows = "".join(f"<TR>{''.join(f'<TD>{cell}</TD>' for cell in line.split(','))}</TR>" for line in lines[1:])
    return (
        f'<?xml version="1.0"?>{doctype}<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>'
        f'<INFO name="QUERY_STATUS" value="{status}">{words}</INFO><TABLE>{fields}<DATA><TABLEDATA>{rows}</TABLEDATA></DATA>'
        "</TABLE></RESOURCE></VOTABLE>"
    ).encode()


def both(body):
    return [(body, "csv"), (votable(body), "votable")]


def test_row_of_the_service_is_read_exactly():
    chunk = light_curves(f"{HEADER}{ROW},{REST}\n".encode(), "csv")
    assert chunk.batch.id.tolist() == [675103300002930]
    assert chunk.batch.time.tolist() == [2458202.8577286243]
    assert chunk.batch.mag.tolist() == [18.6746521]
    assert chunk.batch.flags.tolist() == [0] and chunk.batch.programid.tolist() == [1]
    facts = chunk.rows.to_pylist()[0]
    assert (facts["band"], facts["filter"], facts["field"], facts["ccd"], facts["quad"]) == ("g", 1, 675, 3, 3)
    assert facts["id"] == facts["source_id"] == 675103300002930
    assert facts["ra"] == pytest.approx(209.9900551, abs=1e-10) and facts["dec"] == pytest.approx(29.9976258, abs=1e-10)


def test_epochs_are_grouped_by_id_in_the_order_of_time():
    rows = [epoch(oid=7, hjd=2.0), epoch(oid=3, hjd=5.0, band="zr"), epoch(oid=7, hjd=1.0, mag=17.0)]
    for body, form in both(csv(*rows)):
        chunk = light_curves(body, form)
        assert chunk.batch.id.tolist() == [3, 7]
        assert [curve.time.tolist() for curve in chunk.batch] == [[5.0], [1.0, 2.0]]
        assert chunk.batch[1].mag.tolist() == [17.0, 18.5]
        assert chunk.rows["band"].to_pylist() == ["r", "g"]


def test_ids_beyond_floats_stay_exact():
    number = 2**53 + 1
    for body, form in both(csv(epoch(oid=number))):
        assert light_curves(body, form).batch.id.tolist() == [number]


def test_no_match_is_a_header_without_rows():
    for body, form in [*both(csv()), (HEADER.strip().encode(), "csv")]:
        chunk = light_curves(body, form)
        assert len(chunk.batch) == 0
        assert chunk.rows.schema == no_light_curves().rows.schema


@pytest.mark.parametrize(
    ("ra", "dec", "expected"),
    [
        ([359.9999, 0.0001, 0.0003], [1.0] * 3, (0.0001, 1.0)),
        ([10.0, 130.0, 250.0], [89.99999] * 3, (0.0, 90.0)),
        ([15.0] * 3, [-29.0, -29.0001, -28.9999], (15.0, -29.0)),
    ],
)
def test_position_is_the_median_across_the_seam_and_at_the_poles(ra, dec, expected):
    rows = [epoch(hjd=float(at), ra=ra[at], dec=dec[at]) for at in range(3)]
    facts = light_curves(csv(*rows), "csv").rows.to_pylist()[0]
    assert separation_arcsec(facts["ra"], facts["dec"], *expected) < 0.04


def test_missing_magnitude_is_nan_and_unknown_programme_is_no_allowed_one():
    chunk = light_curves(csv(epoch(mag="", program="")), "csv")
    assert np.isnan(chunk.batch.mag[0]) and chunk.batch.programid[0] == -1


def test_columns_that_only_some_services_have_may_be_missing():
    body = b"oid,hjd,mag,magerr,catflags,filtercode,ra,dec\n12,2458000.5,18.0,0.1,0,zi,1.0,2.0\n"
    chunk = light_curves(body, "csv")
    assert chunk.rows.to_pylist()[0]["field"] is None and chunk.batch.programid is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"Internal error: no database\n", "no table of epochs"),
        (HEADER.replace(",hjd,", ",").encode(), "lacks hjd"),
        (csv(epoch())[:-60], "cut"),
        (csv(epoch(), epoch(hjd=3.0))[: len(csv(epoch())) + 30], "cut"),
        (csv(epoch(oid="")), "has no oid"),
        (csv(epoch(oid="1.5e14")), "cannot be read"),
        (csv(epoch(band="zz")), "'zz'"),
        (csv(epoch(hjd=1.0), epoch(hjd=2.0, band="zr")), "two filters"),
        (csv(epoch(dec=91.0)), "not on the sky"),
    ],
)
def test_broken_replies_are_refused(body, words):
    with pytest.raises(ReplyError, match=words):
        light_curves(body, "csv")


@given(st.integers(0, 400))
@settings(max_examples=40)
def test_a_votable_that_was_cut_anywhere_is_refused(n_bytes):
    whole = votable(csv(epoch(), epoch(hjd=3.0)))
    with pytest.raises(ReplyError):
        light_curves(whole[: len(whole) - 1 - n_bytes], "votable")


def test_failure_told_in_a_votable_is_not_asked_again_whatever_the_form():
    body = votable(csv(), status="ERROR", words="POS is out of range")
    for form in ("csv", "votable"):
        with pytest.raises(QueryRefusedError, match="POS is out of range"):
            light_curves(body, form)
    with pytest.raises(QueryRefusedError, match="OVERFLOW"):
        light_curves(votable(csv(epoch()), status="OVERFLOW"), "votable")


BOMB = '<!DOCTYPE v [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "doctype",
    [
        BOMB,
        '<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE VOTABLE SYSTEM "http://127.0.0.1/v.dtd">',
    ],
)
def test_document_types_and_entities_are_refused(doctype):
    with pytest.raises(ReplyError, match="document type"):
        light_curves(votable(csv(epoch()), doctype=doctype), "votable")


def test_xml_that_is_no_single_table_is_refused():
    with pytest.raises(ReplyError, match="no VOTable"):
        light_curves(b"<a><b/></a>", "votable")
    with pytest.raises(ReplyError, match="BINARY"):
        light_curves(votable(csv()).replace(b"TABLEDATA", b"BINARY"), "votable")
    twice = votable(csv()).replace(b"</TABLE>", b"</TABLE><TABLE></TABLE>")
    with pytest.raises(ReplyError, match="more than one table"):
        light_curves(twice, "votable")
    with pytest.raises(ReplyError, match="cells"):
        light_curves(votable(csv(epoch())).replace(b"<TD>zg</TD>", b""), "votable")


numbers = st.floats(allow_nan=False, allow_infinity=False, width=64).map(lambda value: value % 1e6)


@given(
    st.lists(
        st.tuples(st.integers(1, 2**62), numbers, st.sampled_from(["zg", "zr", "zi"]), st.integers(0, 65535)),
        max_size=8,
    )
)
@settings(max_examples=25, deadline=None)
def test_votables_read_as_astropy_reads_them(rows):
    votable_of = pytest.importorskip(
        "astropy.io.votable", reason="astropy, a package for development, is not installed"
    )
    body = votable(csv(*(epoch(oid=oid, hjd=hjd, band=band, flags=flags) for oid, hjd, band, flags in rows)))
    ours = read_votable(body, COLUMNS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = votable_of.parse_single_table(io.BytesIO(body)).array
    assert ours.num_rows == len(theirs) == len(rows)
    for name in COLUMNS:
        values = [one.item() if hasattr(one, "item") else one for one in theirs[name]]
        assert ours[name].to_pylist() == pa.array(values, COLUMNS[name]).to_pylist()


def test_web_pages_are_known_by_how_they_begin():
    assert html_title(b"\n<!-- x -->\n<!DOCTYPE html>\n<HTML><title>Log  in\n</title>") == "Log in"
    assert html_title(b"<html><body><h1>503 Service</h1>") == "503 Service"
    assert html_title(b"<html></html>") == "untitled"
    assert html_title(csv(epoch())) is None
    assert html_title(votable(csv())) is None
