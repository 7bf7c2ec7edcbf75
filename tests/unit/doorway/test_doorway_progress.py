"""Progress says what is useful and no more."""

from __future__ import annotations

import logging

import pytest

from scope_ml.doorway.progress import BarProgress, LogProgress


def test_log_progress_says_count_share_and_time_left(caplog: pytest.LogCaptureFixture) -> None:
    progress = LogProgress(interval=0.0)
    with caplog.at_level(logging.INFO):
        progress.start("features", 10)
        progress.advance(4)
        progress.finish()
    assert "features: 4 of 10 (40 %)" in caplog.messages[0]
    assert "s left" in caplog.messages[0]


def test_log_progress_is_silent_for_short_work(caplog: pytest.LogCaptureFixture) -> None:
    progress = LogProgress()
    with caplog.at_level(logging.INFO):
        progress.start("features")
        progress.advance(1000)
        progress.finish()
    assert not caplog.messages


def test_bar_can_be_started_twice_and_finished_unstarted() -> None:
    progress = BarProgress()
    progress.finish()
    progress.start("one", 2)
    progress.start("two")
    progress.advance()
    progress.finish()


def test_what_was_done_before_does_not_make_the_rest_look_quick(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.0, 60.0, *(120.0 + 60.0 * i for i in range(10))])
    monkeypatch.setattr("scope_ml.doorway.progress.time.monotonic", lambda: next(clock))
    progress = LogProgress(interval=60.0)
    with caplog.at_level(logging.INFO):
        progress.start("measuring light curves", 100_000)
        progress.advance(50_000)
        for _ in range(8):
            progress.advance(60)
    assert caplog.messages[0].endswith("50000 of 100000 (50 %), 60 s left, 833.3/s")
    assert caplog.messages[-1].endswith("50480 of 100000 (50 %), 13.8 h left, 1.0/s")


def test_bar_says_rate_and_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    progress = BarProgress()
    progress.start("measuring light curves", 10)
    for _ in range(4):
        progress.advance()
    progress.finish()
    shown = capsys.readouterr().err
    assert "4/10" in shown
    assert "/s" in shown
    assert "left" in shown
