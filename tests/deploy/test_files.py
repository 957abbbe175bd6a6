"""What is in deploy/ is what its own programs accept, and what this server understands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.local_cluster import proxy_settings
from tests.support.need import OUTSIDE, ROOT, missing, need
from tests.support.server import running, settings
from whatsapp import config
from whatsapp.serve import SHUTDOWN_MARGIN_SECONDS

DEPLOY = ROOT / "deploy"
SECONDS_MAX = 60
KUBERNETES = "1.34"
# From SIGTERM to the last moment of an instance.
END_SECONDS = config.Server().drain_timeout_seconds + SHUTDOWN_MARGIN_SECONDS


def accepted(*command: str, environment: dict[str, str] | None = None) -> str:
    """What the program says of a file that it accepts."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def documents(file: Path) -> list[Any]:
    return list(yaml.safe_load_all(file.read_text()))


# --- the image and the compose file


@pytest.mark.external
def test_hadolint_accepts_the_container_file():
    accepted(need("hadolint"), "deploy/Containerfile")


def test_the_image_is_made_of_what_the_lock_file_lists():
    text = (DEPLOY / "Containerfile").read_text()
    assert "--require-hashes" in text
    assert (
        re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["docker.io/library/python:${PYTHON}"] * 2
    )
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE)
    listed = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    assert {f"!{name}" for names in copied for name in names.split()} <= set(listed)


SECRETS = re.compile(r"\$\{(\w+):\?")
COMPOSE = DEPLOY / "compose.yaml"


def composed() -> dict[str, Any]:
    """The file as Docker sees it, with every secret made up."""
    names = set(SECRETS.findall(COMPOSE.read_text()))
    made_up = dict.fromkeys(names, "0123456789abcdef" * 4)
    project: dict[str, Any]
    project = json.loads(accepted(need("compose"), str(COMPOSE), environment=made_up))
    return project


def instances() -> dict[str, dict[str, str]]:
    """The environment of each of our containers."""
    services = composed()["services"]
    return {
        name: service["environment"]
        for name, service in services.items()
        if service["image"] == "whatsapp:local"
    }


@pytest.mark.external
def test_composes_own_loader_accepts_the_file():
    services = composed()["services"]
    assert {"proxy", "mongo1", "mongo2", "mongo3", "mongo-init", "prometheus"} <= set(services)
    for name, service in services.items():
        image = service["image"]
        assert re.search(r":(local|v?\d+\.\d+\.\d+)", image), f"{name}: {image} is not pinned"
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), volume


@pytest.mark.external
def test_without_a_secret_nothing_starts():
    program = need("compose")
    names = set(SECRETS.findall(COMPOSE.read_text()))
    assert len(names) == 6
    for absent in names:
        made_up = {name: "x" for name in names if name != absent}
        clean = {name: text for name, text in os.environ.items() if name not in names}
        done = subprocess.run(
            [program, str(COMPOSE)],
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
            env={**clean, **made_up},
        )
        assert done.returncode != 0
        assert f"{absent} is missing" in done.stderr


@pytest.mark.external
def test_the_instances_of_the_compose_file_would_start():
    found = instances()
    assert len(found) == 3
    loaded = [config.load(None, environment) for environment in found.values()]
    assert {c.directory.instance for c in loaded} == {"a", "b", "c"}
    assert {c.cluster.address for c in loaded} == {f"{name}:8090" for name in found}
    for environment in found.values():
        assert config.unknown_variables(environment) == {}


# --- systemd


UNIT = DEPLOY / "systemd" / "whatsapp.service"


@pytest.mark.external
def test_systemd_accepts_the_unit(tmp_path: Path):
    # It looks whether the program is there, and on this machine it is elsewhere.
    here = tmp_path / UNIT.name
    here.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    done = subprocess.run(
        [need("systemd-analyze"), "verify", "--man=no", str(here)],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = accepted(need("systemd-analyze"), "security", "--offline=yes", str(here))
    exposure = re.search(r"Overall exposure level.*?: ([\d.]+)", shown)
    assert exposure is not None
    assert float(exposure[1]) < 2, shown


def test_every_manager_is_more_patient_than_the_drain():
    unit = re.search(r"(?m)^TimeoutStopSec=(\d+)$", UNIT.read_text())
    assert unit is not None
    assert int(unit[1]) > END_SECONDS
    grace = re.search(r"stop_grace_period: (\d+)s", COMPOSE.read_text())
    assert grace is not None
    assert int(grace[1]) > END_SECONDS
    pod = kubernetes("StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    before = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > before + END_SECONDS


# --- Kubernetes


MANIFESTS = sorted(p for p in (DEPLOY / "kubernetes").glob("*.yaml") if "kustom" not in p.name)


def kubernetes(kind: str) -> Any:
    (found,) = [d for file in MANIFESTS for d in documents(file) if d["kind"] == kind]
    return found


@pytest.mark.external
@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_kubernetes_schemas_accept_the_manifests(file: Path):
    if not (OUTSIDE / "kubernetes_validate").exists():
        missing("the Python package kubernetes-validate is missing (`make test` installs it)")
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", KUBERNETES]
    said = accepted(*command, str(file), environment={"PYTHONPATH": str(OUTSIDE)})
    assert "WARN" not in said


def test_every_manifest_is_applied_and_there():
    (listed,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    assert sorted(listed["resources"]) == [file.name for file in MANIFESTS]


def test_the_pods_would_start():
    (container,) = kubernetes("StatefulSet")["spec"]["template"]["spec"]["containers"]
    environment = dict(kubernetes("ConfigMap")["data"])
    # As the kubelet fills them in, and as the head of settings.yaml makes the Secret.
    environment["WHATSAPP_DIRECTORY_INSTANCE"] = "whatsapp-1"
    for name in re.findall(r"--from-literal=(\w+)=", (MANIFESTS[-1]).read_text()):
        assert name not in environment, "a secret is in the file"
        environment[name] = "0123456789abcdef" * 4
    for variable in container["env"]:
        if "value" in variable:
            environment[variable["name"]] = re.sub(
                r"\$\((\w+)\)", lambda found: environment[found[1]], variable["value"]
            )
    loaded = config.load(None, environment)
    assert loaded.cluster.address == "whatsapp-1.whatsapp-instances:8090"
    assert config.unknown_variables(environment) == {}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (ports["http"], ports["links"]) == (loaded.server.port, loaded.cluster.port)
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


# --- the proxy


@pytest.mark.external
def test_haproxy_accepts_its_file(tmp_path: Path):
    accepted(need("haproxy"), "-c", "-f", "deploy/haproxy.cfg")
    local = tmp_path / "haproxy.cfg"
    local.write_text(proxy_settings("bind 127.0.0.1:1", ["server a 127.0.0.1:2"]))
    accepted(need("haproxy"), "-c", "-f", str(local))
    assert "chat-a" not in local.read_text()


# --- what is watched


@pytest.mark.external
def test_prometheus_accepts_its_files():
    accepted(need("promtool"), "check", "config", "deploy/prometheus/prometheus.yml")
    accepted(need("promtool"), "test", "rules", "tests/deploy/alerts.yaml")


def expressions() -> Iterator[str]:
    (rules,) = documents(DEPLOY / "prometheus" / "rules.yml")
    for group in rules["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


async def test_every_metric_that_is_watched_exists(tmp_path):
    async with running(settings("memory", tmp_path)) as server:
        shown = server.app.metrics.render().decode()
    # What has labels has a line for each value that was seen, but its type from the start.
    types = dict(re.findall(r"(?m)^# TYPE (\w+) (\w+)$", shown))
    histograms = [name for name, kind in types.items() if kind == "histogram"]
    there = {name for name in types if name not in histograms}
    there |= {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    used = {
        name for text in expressions() for name in re.findall(r"\b(?:whatsapp|process)_\w+", text)
    }
    assert len(used) > 10
    assert used - there == set()


def test_the_dashboard_is_provisioned_with_its_source():
    (source,) = documents(DEPLOY / "grafana" / "datasource.yaml")
    board = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    uid = source["datasources"][0]["uid"]
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {uid}
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in board["panels"]}) == len(places)


# --- all of it


def test_the_readme_names_every_file():
    said = (DEPLOY / "README.md").read_text()
    files = [path for path in DEPLOY.rglob("*") if path.is_file() and path.name != "README.md"]
    absent = [path.name for path in files if path.name not in said]
    assert absent == []


def test_the_script_of_ci_is_bash():
    accepted("bash", "-n", ".ci/run")
