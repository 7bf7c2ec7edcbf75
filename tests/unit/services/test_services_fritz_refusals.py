"""What a reply means, for a question and for a change."""

from __future__ import annotations

import json

import pytest

from scope_ml.errors import (
    NotAllowedError,
    NotFoundError,
    QueryRefusedError,
    QueryTooLargeError,
    ReplyError,
    UnsureError,
)
from scope_ml.services.fritz.refusals import Asked, data_of, is_broken
from scope_ml.services.http import Reply

SECRET = "sentinel-7f3a"
PAGE = f"<html><head><title>504 Gateway Time-out {SECRET}</title></head></html>".encode()


def reply(status=200, **content):
    body = content.pop("body", None)
    return Reply(status=status, headers={}, body=json.dumps(content).encode() if body is None else body)


def error(status, message="no", **more):
    return reply(
        status, status_=None, body=json.dumps({"status": "error", "message": message, "data": {}, **more}).encode()
    )


def success(data, status=200):
    return reply(status, body=json.dumps({"status": "success", "data": data}).encode())


def asked(is_change, **values):
    return Asked(where="http://h/api/x", is_change=is_change, secrets=(SECRET,), **values)


@pytest.mark.parametrize("data", [{}, [], None, {"a": [1]}, "text", 0])
@pytest.mark.parametrize("is_change", [True, False])
def test_the_data_of_an_answer(data, is_change):
    assert data_of(success(data), asked(is_change)) == data


@pytest.mark.parametrize(
    ("given", "question", "change"),
    [
        (error(400, f"bad {SECRET}"), QueryRefusedError, QueryRefusedError),
        (error(400, "Invalid API endpoint"), QueryRefusedError, QueryRefusedError),
        (error(401), NotAllowedError, NotAllowedError),
        (error(403), NotAllowedError, NotAllowedError),
        (error(404), NotFoundError, NotFoundError),
        (error(405), QueryRefusedError, QueryRefusedError),
        (error(413), QueryTooLargeError, QueryTooLargeError),
        (error(500), QueryRefusedError, UnsureError),
        (error(503), QueryRefusedError, UnsureError),
        (reply(413, body=PAGE), QueryTooLargeError, QueryTooLargeError),
        (reply(401, body=PAGE), NotAllowedError, NotAllowedError),
        (reply(404, body=PAGE), ReplyError, UnsureError),
        (reply(405, body=PAGE), ReplyError, UnsureError),
        (reply(504, body=PAGE), ReplyError, UnsureError),
        (reply(200, body=PAGE), ReplyError, UnsureError),
        (reply(200, body=b""), ReplyError, UnsureError),
        (reply(200, body=b'{"status": "success", "data": [1, '), ReplyError, UnsureError),
        (reply(200, body=b"[]"), ReplyError, UnsureError),
        (reply(200, body=b"[" * 100_000), ReplyError, UnsureError),
        (reply(200, body=b"\xff\xfe"), ReplyError, UnsureError),
        (reply(200, body=b'{"status": "success"}'), ReplyError, UnsureError),
        (reply(200, body=b'{"data": {}}'), ReplyError, UnsureError),
        (error(200), ReplyError, UnsureError),
        (success({}, 500), ReplyError, UnsureError),
        (reply(302, body=b""), ReplyError, UnsureError),
        (error(400, message=None), QueryRefusedError, QueryRefusedError),
        (error(400, "Traceback:\n  File x\n\tline <b>1</b>"), QueryRefusedError, QueryRefusedError),
    ],
    ids=lambda one: f"{one.status}-{one.body[:20]!r}" if isinstance(one, Reply) else "",
)
def test_what_else_it_may_be_is_one_line_without_secrets(given, question, change):
    for is_change, kind in ((False, question), (True, change)):
        with pytest.raises((ReplyError, QueryRefusedError, UnsureError, NotAllowedError)) as caught:
            data_of(given, asked(is_change))
        text = str(caught.value)
        assert type(caught.value) is kind
        assert SECRET not in text
        assert "\n" not in text
        assert "http://h/api/x" in text
        assert len(text) < 400
        if kind is ReplyError:
            assert text.endswith("is service.fritz.url right?")


def test_what_is_absent_is_the_callers_to_say():
    with pytest.raises(NotFoundError):
        data_of(error(403), asked(True, absent=(403, 404)))
    with pytest.raises(NotAllowedError):
        data_of(error(401), asked(True, absent=(403, 404)))
    # A page of a proxy is not the service's word.
    with pytest.raises(UnsureError):
        data_of(reply(403, body=PAGE), asked(True, absent=(403, 404)))


def test_what_may_be_better_the_next_time():
    assert is_broken(reply(200, body=PAGE))
    assert is_broken(reply(200, body=b'{"status": "succ'))
    assert is_broken(reply(405, body=PAGE))
    assert not is_broken(error(405))
    assert not is_broken(success([]))
    assert not is_broken(reply(302, body=b""))
    assert not is_broken(reply(404, body=PAGE))
