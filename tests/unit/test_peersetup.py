"""What must be right before the first link, and what is said where it is not."""

from __future__ import annotations

import socket

import msgspec
import pytest

from tests.support.certificates import make_authority, make_certificate
from whatsapp import config
from whatsapp.errors import StartupError
from whatsapp.peersetup import (
    listening_for,
    own_address,
    split_address,
    tls_contexts,
)


@pytest.mark.parametrize(
    "address, parts",
    [
        ("name:80", ("name", 80)),
        ("name", ("name", None)),
        ("10.0.0.1:65535", ("10.0.0.1", 65_535)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", None)),
        ("fe80::1", ("fe80::1", None)),
    ],
)
def test_addresses(address, parts):
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address", ["", ":80", "name:0", "name:65536", "name:x", "a b:80", "h://n"]
)
def test_no_addresses(address):
    with pytest.raises(ValueError, match=r"is not a host|has no port"):
        split_address(address)


@pytest.mark.parametrize(
    "address, own",
    [
        ("", "127.0.0.1:{port}"),
        ("chat-1.internal", "chat-1.internal:{port}"),
        ("chat-1.internal:99", "chat-1.internal:99"),
        ("[::1]:99", "[::1]:99"),
    ],
)
def test_the_own_address(address, own):
    settings = config.Cluster(address=address)
    with listening_for(settings) as listening:
        assert own_address(settings, listening) == own.format(port=listening.port)


def test_all_addresses_are_none_to_dial():
    settings = config.Cluster(host="0.0.0.0")
    with listening_for(settings) as listening:
        with pytest.raises(StartupError, match="no address to dial"):
            own_address(settings, listening)
        assert own_address(config.Cluster(address="name"), listening).startswith("name:")


def test_an_address_that_is_none():
    settings = config.Cluster(address="name:port")
    with listening_for(settings) as listening, pytest.raises(StartupError, match="has no port"):
        own_address(settings, listening)


def test_a_taken_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = config.Cluster(port=taken.getsockname()[1])
        with (
            pytest.raises(StartupError, match=r"\[cluster\] host, port: .* in use"),
            listening_for(settings),
        ):
            pass


# --- certificates ----------------------------------------------------------------------


def test_without_certificates_links_are_plain():
    assert tls_contexts(config.Cluster()) is None


@pytest.mark.external
def test_certificates_that_are_not_there_or_none(tmp_path):
    authority = make_authority(tmp_path, "authority")
    certificate, key = make_certificate(tmp_path, "one", authority)
    _, other_key = make_certificate(tmp_path, "two", authority)
    noise = tmp_path / "noise.pem"
    noise.write_text("not a certificate")
    good = {
        "tls_certificate": str(certificate),
        "tls_key": str(key),
        "tls_authority": str(authority),
    }
    assert tls_contexts(msgspec.structs.replace(config.Cluster(), **good)) is not None
    for changed, said in [
        ({"tls_key": ""}, "tls_key: is missing"),
        ({"tls_authority": ""}, "tls_authority: is missing"),
        ({"tls_certificate": str(tmp_path / "none.pem")}, "cannot be read"),
        ({"tls_certificate": str(noise)}, "no pair"),
        ({"tls_key": str(other_key)}, "no pair"),
        ({"tls_authority": str(noise)}, "no certificate"),
    ]:
        with pytest.raises(StartupError, match=said):
            tls_contexts(msgspec.structs.replace(config.Cluster(), **(good | changed)))
