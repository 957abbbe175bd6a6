"""What is installed is what was looked at; and no secret is among the files.

All of it offline: versions and hashes are compared, no database of advisories is asked.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.need import ROOT
from tests.test_architecture import files_of_the_project, named

LOCKS = (
    "requirements.lock",
    "tests/outside/requirements.txt",
    "tests/outside/go/requirements.txt",
)
PINNED = re.compile(r"([a-z0-9][a-z0-9._-]*)==([0-9][\w.!+]*)( ; [^\\]+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def pins(name: str) -> dict[str, str]:
    """Package → version of a lock file; an assertion for anything that is not held fast."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    found = {}
    for line in lines:
        what, *hashes = line.split(" --hash=")
        pinned = PINNED.fullmatch(what.strip())
        assert pinned is not None, f"{name}: not one version: {what}"
        hashes = [f"--hash={one.strip()}" for one in hashes]
        assert hashes, f"{name}: {what} has no hash"
        assert all(HASH.fullmatch(one) for one in hashes), f"{name}: {what}"
        found[pinned[1]] = pinned[2]
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_a_version_and_hashes(name):
    assert pins(name)


def test_everything_that_is_asked_for_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *(one for group in project["project"]["optional-dependencies"].values() for one in group),
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    locked = pins("requirements.lock")
    for text in wanted:
        asked = Requirement(text)
        version = locked.get(asked.name.lower())
        assert version is not None, f"{text} is not in requirements.lock"
        assert asked.specifier.contains(version), f"{text}, and locked is {version}"


def test_the_installers_insist_on_the_hashes():
    """A lock file that nobody checks is a list of wishes."""
    places = ("Makefile", ".ci/run", "deploy/Containerfile")
    installs = [
        (place, line)
        for place in places
        if (ROOT / place).exists()
        for line in re.split(r"(?<!\\)\n", (ROOT / place).read_text())
        if "pip install" in line and "--requirement" in line
    ]
    assert len(installs) >= 3
    assert [one for one in installs if "--require-hashes" not in one[1]] == []


def test_every_node_package_has_its_integrity():
    locked = json.loads((ROOT / "tests/outside/package-lock.json").read_text())["packages"]
    packages = {name: one for name, one in locked.items() if name}
    assert packages
    assert [name for name, one in packages.items() if "sha512-" not in one["integrity"]] == []


@pytest.mark.parametrize("module", ["compose", "ferretdb"])
def test_every_go_module_has_its_sum(module):
    folder = ROOT / "tests/outside/go" / module
    sums = {tuple(line.split()[:2]) for line in (folder / "go.sum").read_text().splitlines()}
    wanted = re.findall(
        r"^\t?(?:require )?(\S+\.\S+/\S+) (v\S+)", (folder / "go.mod").read_text(), re.MULTILINE
    )
    assert wanted
    assert [one for one in wanted if (one[0], f"{one[1]}/go.mod") not in sums] == []


# --- secrets -------------------------------------------------------------------------

# What a secret looks like, written in pieces so that this file may be searched too.
LOOKS = {
    "private key": "-----BEGIN [A-Z ]*PRIV" + "ATE KEY-----",
    "AWS key": r"\bA(?:KIA|SIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\bgh[pousr]_[0-9A-Za-z]{36}|\bgithub_pat_\w{22}",
    "GitLab token": r"\bglpat-[\w-]{20}",
    "Slack token": r"\bxox[abprs]-[\w-]{10}",
    "Google key": r"\bAIza[\w-]{35}",
    "npm token": r"\bnpm_[0-9A-Za-z]{36}|_auth" + r"Token\s*=",
    "package index token": r"\bpypi-[\w-]{50}",
    "web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.",
    "password in an address": r"\b[a-z][a-z0-9+.-]*://[^\s:/@\"'{}$<>]+:([^\s:/@\"'{}$<>]+)@",
    "long value of a secret": r"(?i)(?:secret|token|passw(?:or)?d|api_?key)[\w-]*[\"']?"
    r"\s*[:=]\s*[\"']([0-9A-Za-z+/_=-]{24,})[\"']",
}
SECRETS = {name: re.compile(look) for name, look in LOOKS.items()}
# Files that may never be here, whatever they hold.
FILES = re.compile(
    r"(^|/)(\.env(\..*)?|\.netrc|\.pypirc|id_(rsa|ed25519|ecdsa)|.*\.(pem|key|p12|pfx|kdbx))$"
)
# Values that are examples, each with where it belongs.
EXAMPLES = {
    "password": "the comment in config.example.toml, and tests that no server of ours listens to",
    "EXAMPLE-n5Jq8sVb2wLkT0yXr4dGm7hCz1pFu9eAi3oB6t": "the token of the published examples",
    "hush": "tests of settings: must not be shown",
    "secret": "tests of the benchmark: must not be shown",
    "alert(1)": "tests of the page: an address that is an attack",
}
# Made by a tool, and full of what looks random.
UNREAD = {"requirements.lock", "tests/outside/package-lock.json"}


def secrets_in(text: str) -> Iterator[tuple[str, str]]:
    for kind, look in SECRETS.items():
        for found in look.finditer(text):
            value = found[found.lastindex or 0]
            if value not in EXAMPLES:
                yield kind, value


def test_no_file_has_a_secret_in_it():
    told = []
    for path in files_of_the_project():
        name = named(path)
        if FILES.search(name):
            told.append((name, "a file of secrets"))
        if name not in UNREAD:
            text = path.read_bytes().decode("utf-8", "replace")
            told += [(name, f"{kind}: {value[:12]}…") for kind, value in secrets_in(text)]
    assert told == []


@pytest.mark.parametrize(
    "planted, kind",
    [
        ("-----BEGIN RSA PRIV" + "ATE KEY-----", "private key"),
        ("id = AKIA" + "ABCDEFGHIJKLMNOP", "AWS key"),
        ("ghp_" + "a1" * 18, "GitHub token"),
        ("mongodb://admin:" + "hunter2@db.example/", "password in an address"),
        ("cluster_secret = '" + "0123456789abcdef" * 2 + "'", "long value of a secret"),
        ("//registry/:_auth" + "Token=x", "npm token"),
        ("Bearer eyJhbGciOiJIUzI1" + ".eyJzdWIiOiIxMjM0" + ".x", "web token"),
    ],
)
def test_a_planted_secret_is_found(planted, kind):
    assert kind in dict(secrets_in(planted))


@pytest.mark.parametrize("name", [".env", "deploy/.env.local", "a/id_rsa", "tls/server.key"])
def test_a_planted_file_is_found(name):
    assert FILES.search(name)


def test_what_is_ignored_includes_files_of_secrets():
    ignored = Path(ROOT / ".gitignore").read_text().splitlines()
    assert ".env" in ignored
