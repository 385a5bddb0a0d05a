"""overlays/milvus: the suite of overlays/prod, but for a retriever that keeps nothing and may be many."""

from __future__ import annotations

import copy
from pathlib import Path

import kubernetes_validate
import pytest

from services.retriever.settings import Settings
from tests.deploy.cluster import KEDA, WORKLOADS, Cluster, Document, container, labels, pod, selects


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster("milvus")


@pytest.fixture(scope="module")
def prod() -> Cluster:
    return Cluster("prod")


def test_every_document_is_valid(cluster: Cluster) -> None:
    for document in cluster.documents:
        if document["apiVersion"] != KEDA:
            kubernetes_validate.validate(document, "1.34", strict=True)


def test_all_but_the_retriever_is_as_in_prod(cluster: Cluster, prod: Cluster) -> None:
    def others(every: Cluster) -> list[Document]:
        return [bare(each) for each in every.documents if not each["metadata"]["name"].startswith("retriever")]

    added = [each for each in others(cluster) if each not in others(prod)]
    assert [(each["kind"], each["metadata"]["name"]) for each in added] == [("NetworkPolicy", "to-milvus")]
    assert len(others(cluster)) == len(others(prod)) + 1


def test_the_retriever_differs_from_that_of_prod_in_its_store_only(cluster: Cluster, prod: Cluster) -> None:
    here, there = cluster.get("Deployment", "retriever"), prod.get("StatefulSet", "retriever")
    assert "replicas" not in here["spec"], "the autoscaler says how many"
    assert cluster.get("Service", "retriever") == prod.get("Service", "retriever")
    assert labels(here) == labels(there)
    ours, theirs = container(here), container(there)
    changed = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    assert changed == {"env", "envFrom", "volumeMounts"}
    assert pod(here) == pod(there) | {"containers": [ours]}
    assert [mount["name"] for mount in ours["volumeMounts"]] == ["tmp"]


def test_its_settings_are_accepted(
    cluster: Cluster, prod: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = cluster.environment("retriever")
    assert given == prod.environment("retriever") | {
        "RETRIEVER_STORE": "milvus",
        "RETRIEVER_DATA_DIR": "/tmp",  # noqa: S108 - a folder of the pod's own
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert Settings().store == "milvus"
    secret = {
        each["name"]: each["valueFrom"]["secretKeyRef"]["name"]
        for each in container(cluster.workload("retriever"))["env"]
    }
    assert secret == {"RETRIEVER_MILVUS_URL": "ragline-milvus", "RETRIEVER_STATE_URL": "ragline-redis"}


def test_it_is_scaled_and_moved_like_the_others_of_the_query_path(cluster: Cluster) -> None:
    for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget"):
        ours, theirs = cluster.get(kind, "retriever"), cluster.get(kind, "reranker")
        assert repr(theirs["spec"]).replace("reranker", "retriever") == repr(ours["spec"])


def test_it_alone_reaches_milvus(cluster: Cluster) -> None:
    selector = cluster.get("NetworkPolicy", "to-milvus")["spec"]["podSelector"]
    meant = [each["metadata"]["name"] for each in cluster.all(*WORKLOADS) if selects(selector, labels(each))]
    assert meant == ["retriever"]


def bare(document: Document) -> Document:
    """A document without the label of the whole, which the component puts on what lacks it, too."""
    found = copy.deepcopy(document)
    for holder in (found, found.get("spec", {}).get("template", {})):
        given = holder.get("metadata", {}).get("labels", {})
        given.pop("app.kubernetes.io/part-of", None)
        if not given:
            holder.get("metadata", {}).pop("labels", None)
    return found
