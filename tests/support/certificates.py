"""Certificates for tests: an authority, and what it signs, made by the openssl program."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.need import need


def make_authority(folder: Path, name: str) -> Path:
    """A self-signed one: `name`.pem, with `name`.key beside it."""
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"),
        *("-subj", f"/CN={name}", "-days", "2"),
    )
    return folder / f"{name}.pem"


def make_certificate(folder: Path, name: str, authority: Path) -> tuple[Path, Path]:
    """A certificate and its key, signed by `authority`."""
    key, request, signed = (folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
    _openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", key, "-out", request, "-subj", f"/CN={name}"),
    )
    _openssl(
        *("x509", "-req", "-in", request, "-CA", authority, "-CAkey"),
        *(authority.with_suffix(".key"), "-CAcreateserial", "-out", signed, "-days", "2"),
    )
    return signed, key


def _openssl(*arguments: str | Path) -> None:
    subprocess.run([need("openssl"), *arguments], check=True, capture_output=True, timeout=60)
