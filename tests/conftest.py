"""What holds for every test: no skip in CI, Hypothesis without a stop-watch, logs left alone."""

from __future__ import annotations

import gc
import logging
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from tests.support.need import in_ci

# A shared machine is slow at times; only a hang is an error, and pytest-timeout finds that.
hypothesis.settings.register_profile("here", deadline=None, max_examples=100)
hypothesis.settings.load_profile("here")


def pytest_collection_finish() -> None:
    """Thousands of tests and all that they import: looked through by each full collection, that
    is up to a second in which no event loop moves."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """What a command in this process does to the log is over with its test.

    By `setLevel`: loggers remember what they may say until one is set.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that is marked `external` must run."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and in_ci() and item.get_closest_marker("external"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be: {report.longrepr}"
    return report
