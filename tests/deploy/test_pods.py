"""What pods in the cluster may do and take, how they start, are asked, and end."""

from __future__ import annotations

import re

import pytest

import ragline
from tests.deploy.cluster import (
    OVERLAYS,
    OWN,
    ROOT,
    SERVICES,
    WORKERS,
    WORKLOADS,
    Cluster,
    container,
    labels,
    pod,
    rendered,
    selects,
)


@pytest.fixture(params=OVERLAYS)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each overlay, rendered."""
    return Cluster(request.param)


def test_pods_may_do_little(cluster: Cluster) -> None:
    enforced = cluster.all("Namespace")[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == "restricted"
    for workload in cluster.all(*WORKLOADS):
        spec, held = pod(workload), container(workload)
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert held["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert all("hostPath" not in volume for volume in spec["volumes"])
        assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume)


def test_what_pods_take_is_bounded(cluster: Cluster) -> None:
    for workload in cluster.all(*WORKLOADS):
        resources = container(workload)["resources"]
        assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}


def test_images_are_pinned(cluster: Cluster) -> None:
    for workload in cluster.all(*WORKLOADS):
        image = container(workload)["image"]
        assert re.search(r":\d+\.\d+\.\d+$", image), image
        if "ragline/" in image:
            assert image.endswith(f":{ragline.__version__}")
    if cluster.overlay == "prod":
        for name in (*SERVICES, *WORKERS):
            assert container(cluster.workload(name))["image"].startswith("registry.example.com/ragline/")


def test_queries_come_before_work(cluster: Cluster) -> None:
    assert cluster.get("PriorityClass", "ragline-work")["value"] < 0
    for name in OWN:
        spec, of_pods = pod(cluster.workload(name)), labels(cluster.workload(name))
        work = name in WORKERS
        assert spec.get("priorityClassName") == ("ragline-work" if work else None)
        assert of_pods["app.kubernetes.io/component"] == ("work" if work else "query")
        if work:
            away = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
            selector = away[0]["podAffinityTerm"]["labelSelector"]
            assert [each for each in OWN if selects(selector, labels(cluster.workload(each)))] == [
                each for each in OWN if each not in WORKERS
            ]
        keys = [spread["topologyKey"] for spread in spec["topologySpreadConstraints"]]
        assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        for spread in spec["topologySpreadConstraints"]:
            assert selects(spread["labelSelector"], of_pods)
            assert spread["matchLabelKeys"][0] in of_pods


# --- how a pod starts, is asked and ends


def test_probes_are_apart(cluster: Cluster) -> None:
    for name in OWN:
        held = container(cluster.workload(name))
        start, live, ready = held["startupProbe"], held["livenessProbe"], held["readinessProbe"]
        assert start["httpGet"] == live["httpGet"] == {"path": "/healthz", "port": "http"}
        assert start["periodSeconds"] * start["failureThreshold"] >= (60 if name == "nginx" else 600)
        assert live["periodSeconds"] * live["failureThreshold"] >= 60  # a busy process is not a dead one
        assert ready["periodSeconds"] * ready["failureThreshold"] <= 10
        if name in {"preprocess", "retriever", "reranker"}:
            ports = {port["name"]: port["containerPort"] for port in held["ports"]}
            assert ready["grpc"] == {"port": ports["grpc"]}
        elif name != "nginx":
            assert ready["httpGet"] == {"path": "/readyz", "port": "http"}


def test_there_is_time_to_drain(cluster: Cluster) -> None:
    door = (ROOT / "nginx" / "settings.env").read_text()
    drain = re.search(r"^NGINX_DRAIN_S=(\d+)$", door, re.MULTILINE)
    assert drain
    for workload in cluster.all(*WORKLOADS):
        name = workload["metadata"]["name"]
        drain_s = float(drain[1] if name == "nginx" else cluster.environment(name).get("RAGLINE_DRAIN_S", 10))
        before_s = container(workload)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod(workload)["terminationGracePeriodSeconds"] >= before_s + drain_s + 10, name


def test_updates_leave_no_gap(cluster: Cluster) -> None:
    for deployment in cluster.all("Deployment"):
        assert deployment["spec"]["strategy"] == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        }
        assert deployment["spec"]["minReadySeconds"] > 0


def test_the_record_has_one_writer(cluster: Cluster) -> None:
    """A StatefulSet starts no second pod of a name before the first is known to be gone; a Deployment may."""
    retriever = cluster.get("StatefulSet", "retriever")
    assert retriever["spec"]["replicas"] == 1
    (claim,) = retriever["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    targets = {
        each["spec"]["scaleTargetRef"]["name"] for each in cluster.all("HorizontalPodAutoscaler", "ScaledObject")
    }
    assert "retriever" not in targets


def test_what_is_shared_can_be_shared() -> None:
    modes = {
        each["metadata"]["name"]: each["spec"]["accessModes"]
        for each in rendered("base")
        if "Claim" in each["kind"]
    }
    assert modes == {"blobs": ["ReadWriteMany"], "batches": ["ReadWriteMany"]}
    assert not Cluster("prod").all("PersistentVolumeClaim")
    for name, setting in {"preprocess": "PREPROCESS_BLOB_URL", "generator": "GENERATOR_BATCH_URL"}.items():
        for each in (name, f"{name}-worker"):
            assert Cluster("prod").environment(each)[setting].startswith("s3://")
