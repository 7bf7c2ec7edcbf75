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
