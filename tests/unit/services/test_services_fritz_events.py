"""Events of Fritz: times in all their spellings, pages that move while they are read, localizations newest first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scope_ml.errors import ConfigError, ReplyError
from scope_ml.services.fritz import events as room
from scope_ml.services.fritz.events import event_at, events_since, newest_events, read_dateobs, written_dateobs

WHEN = datetime(2019, 8, 14, 21, 10, 39)


def row(when: datetime, *names: str) -> dict[str, object]:
    return {
        "dateobs": when.isoformat(),
        "localizations": [
            {"localization_name": name, "created_at": f"2026-01-0{number}T00:00:00"}
            for number, name in enumerate(names, start=1)
        ],
    }


class Portal:
    """A service with events, the newest first; one more comes after each page if `grows`."""

    page = 500

    def __init__(self, rows, *, grows=False):
        self.rows, self.grows, self.asked = list(rows), grows, []

    def get(self, path, params=None):
        assert path == "/api/gcn_event"
        self.asked.append(dict(params))
        first = (params["pageNumber"] - 1) * params["numPerPage"]
        rows = [one for one in self.rows if params.get("startDate", "") <= one["dateobs"]]
        rows = [one for one in rows if one["dateobs"] <= params.get("endDate", "9999")]
        if self.grows:
            self.rows.insert(0, row(WHEN + timedelta(days=len(self.rows) + 1)))
        return {"events": rows[first : first + params["numPerPage"]], "totalMatches": len(rows)}


@pytest.mark.parametrize(
    "text", ["2019-08-14T21:10:39", "2019-08-14T21:10:39Z", "2019-08-14 21:10:39.000", "2019-08-14T23:10:39+02:00"]
)
def test_a_time_in_all_its_spellings(text):
    assert read_dateobs(text) == WHEN


@pytest.mark.parametrize("text", ["", "yesterday", "2019-08-14", "20190814", "2019-13-14T21:10:39", "58709.88"])
def test_what_is_no_time_is_told_in_one_line(text):
    with pytest.raises(ConfigError, match="2019-08-14T21:10:39") as caught:
        read_dateobs(text)
    assert "\n" not in str(caught.value)
    assert caught.value.key == "dateobs"


@given(when=st.datetimes(), zulu=st.booleans())
def test_a_time_comes_back_as_it_was_written(when, zulu):
    assert read_dateobs(written_dateobs(when) + ("Z" if zulu else "")) == when
    assert written_dateobs(when.replace(microsecond=0)).count(".") == 0


@given(when=st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))
def test_times_of_other_zones_become_utc(when):
    assert read_dateobs(when.isoformat()) == when.replace(tzinfo=None)


def test_all_pages_of_events_are_read(monkeypatch):
    monkeypatch.setattr(room, "PAGE", 3)
    portal = Portal([row(WHEN + timedelta(days=number), "a", "b") for number in range(8, 0, -1)])
    found = events_since(portal, WHEN + timedelta(days=2))
    assert [event.dateobs for event in found] == [WHEN + timedelta(days=number) for number in range(8, 1, -1)]
    assert [one["pageNumber"] for one in portal.asked] == [1, 2, 3]
    assert all(event.localizations == ("b", "a") for event in found)


def test_events_that_come_between_pages_push_none_out(monkeypatch):
    monkeypatch.setattr(room, "PAGE", 2)
    monkeypatch.setattr(room, "MOST_PAGES", 20)
    known = [row(WHEN + timedelta(days=number)) for number in range(5, 0, -1)]
    portal = Portal(known, grows=True)
    found = [written_dateobs(event.dateobs) for event in events_since(portal, WHEN)]
    assert len(found) == len(set(found))
    assert found == sorted(found, reverse=True)
    assert len(portal.asked) <= 20


def test_one_event_and_the_newest():
    portal = Portal([row(WHEN + timedelta(days=1), "x"), row(WHEN)])
    assert event_at(portal, WHEN).localizations == ()
    assert str(event_at(portal, WHEN + timedelta(days=1))) == "2019-08-15T21:10:39"
    assert event_at(portal, WHEN + timedelta(seconds=1)) is None
    many = Portal([*(row(WHEN + timedelta(days=number)) for number in range(250, 0, -1)), row(WHEN, "old")])
    assert event_at(many, WHEN).localizations == ("old",)
    assert [event.dateobs for event in newest_events(portal, 1)] == [WHEN + timedelta(days=1)]
    assert portal.asked[-1]["numPerPage"] == 1


@pytest.mark.parametrize(
    "answer",
    [[], {}, {"events": None}, {"events": {}, "totalMatches": 1}, {"events": [{"dateobs": None}], "totalMatches": 1}],
)
def test_an_answer_of_another_kind_is_refused(answer):
    class Other:
        page = 500

        def get(self, path, params=None):
            return answer

    with pytest.raises(ReplyError):
        events_since(Other(), WHEN)
