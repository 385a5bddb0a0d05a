"""Who may reach whom in the cluster: the arrows of the suite and no other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.cluster import OVERLAYS, WORKLOADS, Cluster, container, labels, selects

ARROWS = {
    ("nginx", "preprocess", 8001),
    ("nginx", "retriever", 8002),
    ("nginx", "reranker", 8003),
    ("nginx", "generator", 8004),
    ("generator", "retriever", 50052),
    ("generator", "reranker", 50053),
    ("retriever", "preprocess", 50051),
    ("retriever", "reranker", 50053),
    ("preprocess", "retriever", 50052),
    ("preprocess-worker", "retriever", 50052),
    ("generator-worker", "retriever", 50052),
    ("generator-worker", "reranker", 50053),
    # lines of a batch, as clients would ask
    ("generator-worker", "retriever", 8002),
    ("generator-worker", "preprocess", 8001),
}
PUBLISHERS = ("preprocess", "preprocess-worker", "generator", "generator-worker")
READERS = (*PUBLISHERS, "retriever", "reranker")
SERVERS = {(name, "redis", 6379) for name in READERS} | {(name, "rabbitmq", 5672) for name in PUBLISHERS}
DNS = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}


@pytest.fixture(params=OVERLAYS)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(request.param)


def rules(cluster: Cluster, pods: dict[str, str], direction: str) -> list[dict[str, Any]] | None:
    """The rules of the policies that mean these pods; None where none restricts them."""
    meant = [
        policy["spec"]
        for policy in cluster.all("NetworkPolicy")
        if selects(policy["spec"]["podSelector"], pods) and direction in policy["spec"]["policyTypes"]
    ]
    if not meant:
        return None
    return [rule for spec in meant for rule in spec.get(direction.lower(), [])]


def allowed(found: list[dict[str, Any]] | None, peers: str, other: dict[str, str], port: int) -> bool:
    """Whether one of the rules lets pods of this namespace through on a port."""
    return found is None or any(
        (peers not in rule or any(is_pod(peer, other) for peer in rule[peers]))
        and ("ports" not in rule or any(is_port(each, port) for each in rule["ports"]))
        for rule in found
    )


def is_pod(peer: dict[str, Any], pods: dict[str, str]) -> bool:
    if "namespaceSelector" in peer or "ipBlock" in peer:  # other namespaces, and what is no pod
        return False
    return selects(peer["podSelector"], pods)


def is_port(each: dict[str, Any], port: int) -> bool:
    assert isinstance(each["port"], int), "a number holds for every network plugin"
    last: int = each.get("endPort", each["port"])
    return each.get("protocol", "TCP") == "TCP" and each["port"] <= port <= last


def test_only_the_arrows_of_the_suite_are_allowed(cluster: Cluster) -> None:
    workloads = cluster.all(*WORKLOADS)
    found = set()
    for source in workloads:
        for target in workloads:
            for port in (each["containerPort"] for each in container(target)["ports"]):
                out = rules(cluster, labels(source), "Egress")
                into = rules(cluster, labels(target), "Ingress")
                if allowed(out, "to", labels(target), port) and allowed(into, "from", labels(source), port):
                    found.add((source["metadata"]["name"], target["metadata"]["name"], port))
    assert found == (ARROWS | SERVERS if cluster.overlay == "dev" else ARROWS)


def test_everything_else_is_refused(cluster: Cluster) -> None:
    assert cluster.get("NetworkPolicy", "nothing")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    stranger = {"app.kubernetes.io/name": "stranger"}
    for workload in cluster.all(*WORKLOADS):
        name = workload["metadata"]["name"]
        for port in (each["containerPort"] for each in container(workload)["ports"]):
            into = rules(cluster, labels(workload), "Ingress")
            assert allowed(into, "from", stranger, port) == (name == "nginx")
        out = rules(cluster, labels(workload), "Egress")
        assert out is not None
        assert not allowed(out, "to", stranger, 443)
        assert any({"ports": rule.get("ports")} == DNS for rule in out), name


def test_prometheus_reads_every_service(cluster: Cluster) -> None:
    policy = cluster.get("NetworkPolicy", "metrics")["spec"]
    (rule,) = policy["ingress"]
    for name in READERS:
        workload = cluster.workload(name)
        assert selects(policy["podSelector"], labels(workload))
        told = workload["spec"]["template"]["metadata"]["annotations"]
        ports = {each["name"]: each["containerPort"] for each in container(workload)["ports"]}
        assert told == {"prometheus.io/scrape": "true", "prometheus.io/port": str(ports["http"])}
        assert any(is_port(each, ports["http"]) for each in rule["ports"])
        if "grpc" in ports:
            assert not any(is_port(each, ports["grpc"]) for each in rule["ports"])


def test_outside_is_reached_by_those_that_need_it() -> None:
    prod = Cluster("prod")
    for name in ("nginx", *READERS):
        ports = set()
        for rule in rules(prod, labels(prod.workload(name)), "Egress") or []:
            for peer in rule.get("to", []):
                if "ipBlock" in peer and peer["ipBlock"]["cidr"] == "0.0.0.0/0":
                    assert peer["ipBlock"]["except"] == ["169.254.0.0/16"]
                    ports |= {each["port"] for each in rule["ports"]}
        expected = {6379, 6380} if name in READERS else set()
        assert ports == expected | ({443, 5671, 5672} if name in PUBLISHERS else set()), name
