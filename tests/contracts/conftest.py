"""Every suite here runs over every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support import mongo
from tests.support.backends import DURABLE_STORES, STORES, Open, opener
from whatsapp.interfaces import Stores


@pytest.fixture(params=STORES)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the stores; again on the same data, once they are closed."""
    yield opener(request.param, tmp_path / "data")
    mongo.drop(tmp_path / "data")


@pytest.fixture(params=DURABLE_STORES)
def durable_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """As `backend`; of those that keep what they are given."""
    yield opener(request.param, tmp_path / "data")
    mongo.drop(tmp_path / "data")


@pytest.fixture
async def stores(backend: Open) -> AsyncIterator[Stores]:
    async with backend() as stores:
        yield stores
