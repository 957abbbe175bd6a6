"""The listening sockets: which port, and what is said where there is none."""

from __future__ import annotations

import errno
import socket

import pytest

from whatsapp import listen as listening
from whatsapp.errors import StartupError
from whatsapp.listen import listen


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_free_port_is_taken_and_given_back():
    with listen("127.0.0.1", 0, tries=0) as found:
        assert (found.loopback, found.moved_from) == (True, 0)
        assert found.url == f"http://127.0.0.1:{found.port}"
        connect(found.port)
        assert listening.port_problem("127.0.0.1", found.port) is not None
    assert listening.port_problem("127.0.0.1", found.port) is None


def test_the_next_port_where_the_first_is_taken(taken: int):
    with listen("127.0.0.1", taken, tries=20) as found:
        assert taken < found.port <= taken + 20
        assert found.moved_from == taken


def test_a_taken_port_that_was_asked_for(taken: int):
    with pytest.raises(StartupError) as raised, listen("127.0.0.1", taken, tries=0):
        pass
    assert raised.value.cause == f"port {taken} on 127.0.0.1: in use by another program"
    assert "--port" in raised.value.cure


def test_all_of_the_ports_taken(monkeypatch):
    def full(*_):
        raise OSError(errno.EADDRINUSE, "taken")

    monkeypatch.setattr(listening, "_listening", full)
    six = pytest.raises(StartupError, match="ports 65530 to 65535")
    with six, listen("127.0.0.1", 65_530, tries=20):
        pass
    with pytest.raises(StartupError, match="port 0 on"), listen("127.0.0.1", 0, tries=0):
        pass


def test_a_name_with_several_addresses_has_one_port():
    with listen("localhost", 0, tries=0) as found:
        assert {sock.getsockname()[1] for sock in found.sockets} == {found.port}
        assert found.loopback


def test_an_address_that_everybody_reaches():
    with listen("0.0.0.0", 0, tries=0) as found:
        assert not found.loopback
        assert found.url == f"http://localhost:{found.port}"


def test_ipv6_stands_in_brackets():
    try:
        with listen("::1", 0, tries=0) as found:
            assert found.url == f"http://[::1]:{found.port}"
    except StartupError as error:
        assert "no such address" in error.cause


def test_a_name_whose_second_address_does_not_exist_here(monkeypatch):
    real = listening._listening

    def without_ipv6(family, ip, port):
        if ip == "::1":
            raise OSError(errno.EADDRNOTAVAIL, "none")
        return real(family, ip, port)

    both = [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")]
    monkeypatch.setattr(listening, "_resolve", lambda _: both)
    monkeypatch.setattr(listening, "_listening", without_ipv6)
    with listen("localhost", 0, tries=0) as found:
        assert len(found.sockets) == 1


@pytest.mark.parametrize(
    "number,said",
    [
        (errno.EACCES, "not allowed for this user"),
        (errno.EADDRNOTAVAIL, "no such address"),
        (errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_other_reasons_are_told(monkeypatch, number: int, said: str):
    def refused(*_):
        raise OSError(number, "Cannot allocate memory")

    monkeypatch.setattr(listening, "_listening", refused)
    with pytest.raises(StartupError) as raised, listen("127.0.0.1", 80, tries=3):
        pass
    assert said in raised.value.cause
    assert raised.value.cure


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 64 + ".example", "\udcff"])
def test_a_host_that_is_none(host: str):
    with pytest.raises(StartupError, match="not an address"), listen(host, 0, tries=0):
        pass
