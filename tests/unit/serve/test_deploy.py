"""Files for operation: they can be read, and name metrics, options, ports and paths that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from safhost.cli.serve import serve
from safhost.serve.metrics import names
from safhost.serve.options import GRPC_PORT, HTTP_PORT, METRICS_PORT

TOP = Path(__file__).resolve().parents[3]
DEPLOY = TOP / "deploy"
METRIC = re.compile(r"\b(?:nv|saf)_[a-z_]+")


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def test_dashboard_shows_every_metric_and_no_other() -> None:
    board = json.loads((DEPLOY / "grafana.json").read_text())
    shown = {name for panel in board["panels"] for target in panel["targets"]
             for name in METRIC.findall(target["expr"])}
    assert shown == names()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])


def test_page_names_every_metric_and_no_other() -> None:
    page = (TOP / "docs" / "serving-operations.md").read_text()
    assert set(re.findall(r"`((?:nv|saf)_[a-z_]+)", page)) == names()


def test_manifests_start_the_server_with_options_that_it_has() -> None:
    (deployment,) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
    pod = deployment["spec"]["template"]["spec"]
    containers = {container["name"]: container for container in pod["containers"]}
    arguments = containers["serve"]["args"][1:]
    options = serve.make_context("serve", [arg for arg in arguments if not re.match(r"--(tls|token)", arg)],
                                 resilient_parsing=True).params
    assert options["lame_duck_s"] + options["drain_s"] < pod["terminationGracePeriodSeconds"]
    known = {name for param in serve.params for name in param.opts}
    assert {arg.partition("=")[0] for arg in arguments if arg.startswith("--")} <= known
    ports = {port["name"]: port["containerPort"] for port in containers["serve"]["ports"]}
    assert ports == {"http": HTTP_PORT, "grpc": GRPC_PORT, "metrics": METRICS_PORT}
    for probe, path in (("readinessProbe", "ready"), ("livenessProbe", "live"), ("startupProbe", "live")):
        assert containers["serve"][probe]["httpGet"]["path"] == f"/v2/health/{path}"
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert all(mount["name"] in volumes for each in containers.values() for mount in each["volumeMounts"])
    assert isinstance(serve, click.Command)


@pytest.mark.parametrize("name", ["deployment", "service"])
def test_manifests_are_what_kubernetes_takes(name: str) -> None:
    for each in documents(DEPLOY / "kubernetes" / f"{name}.yaml"):
        kubernetes_validate.validate(each, "1.30", strict=True)


def test_services_select_the_pods() -> None:
    (deployment,) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    kinds = []
    for each in documents(DEPLOY / "kubernetes" / "service.yaml"):
        kinds.append(each["kind"])
        spec = each["spec"]
        selector = spec.get("podSelector", spec.get("selector"))
        assert selector.get("matchLabels", selector) == labels
        for port in spec.get("ports", []):
            assert port["port"] in (HTTP_PORT, GRPC_PORT, METRICS_PORT)
    assert kinds == ["Service", "Service", "PodDisruptionBudget", "NetworkPolicy"]


def test_balancers_ask_for_readiness_and_name_calls_that_exist() -> None:
    (envoy,) = documents(DEPLOY / "envoy.yaml")
    clusters = {cluster["name"]: cluster for cluster in envoy["static_resources"]["clusters"]}
    text = (DEPLOY / "envoy.yaml").read_text()
    assert set(re.findall(r"cluster: (\w+)", text)) == set(clusters)
    health = clusters["saf_grpc"]["health_checks"][0]["grpc_health_check"]
    assert health == {"service_name": "inference.GRPCInferenceService"}
    assert "/inference.GRPCInferenceService/ModelStreamInfer" in text
    haproxy = (DEPLOY / "haproxy.cfg").read_text()
    backends = set(re.findall(r"^backend (\w+)", haproxy, re.MULTILINE))
    assert set(re.findall(r"default_backend (\w+)", haproxy)) == backends
    assert haproxy.count("option httpchk GET /v2/health/ready") == len(backends)
    assert "check-proto" not in re.sub(r"(?m)^ *(#|server ).*$", "", haproxy)  # 2.6 takes it from server lines alone
    ports = {int(port) for port in re.findall(r"^ +server \w+ [\d.]+:(\d+)", haproxy, re.MULTILINE)}
    assert ports == {HTTP_PORT, GRPC_PORT}
