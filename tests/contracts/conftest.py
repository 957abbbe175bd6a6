"""Every suite here runs over every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support import mongo
from tests.support.backends import DURABLE_STORES, STORES, Open, opener
from tests.support.zookeeper import ZooKeeperServer
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


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    """One server for all who do not harm it; each test takes a root of its own."""
    server = ZooKeeperServer(tmp_path_factory.mktemp("zookeeper"))
    try:
        server.run()
        yield server
    finally:
        server.stop()
