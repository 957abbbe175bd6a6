"""What holds for every test: no skipping in CI, and Hypothesis without a stop-watch."""

from __future__ import annotations

from collections.abc import Generator

import hypothesis
import pytest

from tests.support.need import in_ci

# A shared machine is slow at times; only a hang is an error, and pytest-timeout finds that.
hypothesis.settings.register_profile("here", deadline=None, max_examples=100)
hypothesis.settings.load_profile("here")


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
