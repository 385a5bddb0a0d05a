"""deploy/k8s is valid for five versions of Kubernetes, and whole in itself."""

from __future__ import annotations

import copy
import re
import shlex
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions

from tests.deploy.cluster import (
    FOLDER,
    KEDA,
    OVERLAYS,
    OWN,
    ROOT,
    WORKLOADS,
    Cluster,
    container,
    labels,
    pod,
    rendered,
    selects,
    sources,
)

VERSIONS = sorted(set(all_versions()), key=lambda version: [int(part) for part in version.split(".")])[-5:]
PAGE = ROOT / "docs" / "how-to" / "kubernetes.md"


@pytest.fixture(params=OVERLAYS)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each overlay, rendered."""
    return Cluster(request.param)


def patches() -> set[Path]:
    """The files that are changes to documents, and no documents."""
    found = set()
    for file in FOLDER.rglob("kustomization.yaml"):
        for patch in yaml.safe_load(file.read_text()).get("patches", []):
            if "path" in patch:
                found.add(file.parent / patch["path"])
    return found


# --- valid


@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_is_valid(cluster: Cluster, version: str) -> None:
    for document in cluster.documents:
        if document["apiVersion"] != KEDA:
            kubernetes_validate.validate(document, version, strict=True)


def test_what_is_wrong_is_found() -> None:
    document = yaml.safe_load((FOLDER / "base" / "reranker.yaml").read_text().split("\n---\n")[1])
    for change in ({"replicas": "two"}, {"replica": 2}):
        wrong = copy.deepcopy(document)
        wrong["spec"] |= change
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("path", sorted(set(sources()) - patches()), ids=lambda path: path.name)
def test_sources_are_valid_by_themselves(path: Path) -> None:
    """Needs no kustomize; those of the pods lack only what components/pods adds."""
    for document in yaml.safe_load_all(path.read_text()):
        if document["apiVersion"] != KEDA:
            kubernetes_validate.validate(document, VERSIONS[-1], strict=True)


def test_every_file_is_used() -> None:
    used = patches()
    for file in FOLDER.rglob("kustomization.yaml"):
        content = yaml.safe_load(file.read_text())
        used |= {file.parent / name for name in content.get("resources", [])}
    assert set(sources()) <= used


def test_documents_are_named_once(cluster: Cluster) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in cluster.documents]
    assert len(names) == len(set(names))
    assert {each["metadata"]["name"] for each in cluster.all(*WORKLOADS)} >= set(OWN)
    namespace = cluster.all("Namespace")[0]["metadata"]["name"]
    unbound = {"Namespace", "PriorityClass"}
    for each in cluster.documents:
        assert each["metadata"].get("namespace") == (None if each["kind"] in unbound else namespace)


def test_the_page_names_the_versions() -> None:
    first, last = (version.rpartition(".")[0] for version in (VERSIONS[0], VERSIONS[-1]))
    assert f"({first} to {last} now)" in PAGE.read_text()


# --- whole in itself


def test_what_pods_refer_to_is_there(cluster: Cluster) -> None:
    maps = {each["metadata"]["name"]: each["data"] for each in cluster.all("ConfigMap")}
    claims = {each["metadata"]["name"] for each in cluster.all("PersistentVolumeClaim")}
    accounts = {each["metadata"]["name"] for each in cluster.all("ServiceAccount")}
    classes = {each["metadata"]["name"] for each in cluster.all("PriorityClass")}
    for workload in cluster.all(*WORKLOADS):
        spec, held = pod(workload), container(workload)
        assert spec["serviceAccountName"] in accounts
        assert spec.get("priorityClassName") in {None, *classes}
        for entry in held.get("envFrom", []):
            assert "secretRef" in entry or entry["configMapRef"]["name"] in maps
        for entry in held.get("env", []):
            if key := entry.get("valueFrom", {}).get("configMapKeyRef"):
                assert key["key"] in maps[key["name"]]
        volumes = {each["name"] for each in spec.get("volumes", [])}
        volumes |= {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])}
        assert {mount["name"] for mount in held["volumeMounts"]} == volumes
        for volume in spec.get("volumes", []):
            assert volume.get("configMap", {"name": next(iter(maps))})["name"] in maps
            assert not claims or volume.get("persistentVolumeClaim", {"claimName": "blobs"})["claimName"] in claims


def test_settings_are_named_by_what_they_hold(cluster: Cluster) -> None:
    """So that a change of a setting rolls the pods that read it."""
    for each in cluster.all("ConfigMap", "Secret"):
        assert re.search(r"-[a-z0-9]{10}$", each["metadata"]["name"])


@pytest.mark.parametrize(("name", "folder"), [("templates", "nginx"), ("page", "web")])
def test_the_door_has_the_files_of_the_repository(cluster: Cluster, name: str, folder: str) -> None:
    (volume,) = [each for each in pod(cluster.workload("nginx"))["volumes"] if each["name"] == name]
    files = {
        path.name: path.read_text()
        for path in (ROOT / folder).iterdir()
        if path.is_file() and path.name != "kustomization.yaml" and path.suffix != ".md"
    }
    assert cluster.get("ConfigMap", volume["configMap"]["name"])["data"] == files


def test_services_lead_to_one_workload_each(cluster: Cluster) -> None:
    workloads = cluster.all(*WORKLOADS)
    for service in cluster.all("Service"):
        name = service["metadata"]["name"]
        found = [each for each in workloads if selects({"matchLabels": service["spec"]["selector"]}, labels(each))]
        assert [each["metadata"]["name"] for each in found] == [name]
        ports = {port["name"]: port["containerPort"] for port in container(found[0])["ports"]}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports
            if name != "nginx":  # without a cluster IP nothing translates ports
                assert ports[port["targetPort"]] == port["port"]
        assert service["spec"].get("clusterIP") == (None if name == "nginx" else "None")
        assert not service["spec"].get("publishNotReadyAddresses")


def test_selectors_mean_their_own_pods(cluster: Cluster) -> None:
    workloads = cluster.all(*WORKLOADS)
    for workload in workloads:
        meant = [each for each in workloads if selects(workload["spec"]["selector"], labels(each))]
        assert meant == [workload]
    for budget in cluster.all("PodDisruptionBudget"):
        (meant_by_budget,) = [each for each in workloads if selects(budget["spec"]["selector"], labels(each))]
        assert meant_by_budget["metadata"]["name"] == budget["metadata"]["name"]
    # The retriever is one pod: a budget would either say nothing or keep its node from ever being emptied.
    budgets = {each["metadata"]["name"] for each in cluster.all("PodDisruptionBudget")}
    assert budgets == {"nginx", "preprocess", "reranker", "generator"}


def secrets(cluster: Cluster, *, needed: bool) -> set[str]:
    """The Secrets that pods read, by the name that people give them."""
    found = set()
    for workload in cluster.all(*WORKLOADS):
        held = container(workload)
        references = [entry["secretRef"] for entry in held.get("envFrom", []) if "secretRef" in entry]
        references += [
            entry["valueFrom"]["secretKeyRef"]
            for entry in held.get("env", [])
            if "secretKeyRef" in entry.get("valueFrom", {})
        ]
        found |= {each["name"] for each in references if not (needed and each.get("optional"))}
    for ingress in cluster.all("Ingress"):
        found |= {entry["secretName"] for entry in ingress["spec"]["tls"]}
    return found


def test_secrets_are_there_or_named() -> None:
    dev, prod = Cluster("dev"), Cluster("prod")
    assert secrets(dev, needed=True) == {each["metadata"]["name"] for each in dev.all("Secret")}
    assert not prod.all("Secret")
    listed = re.findall(r"^\| `(ragline-[a-z]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert secrets(prod, needed=False) == set(listed)
    for each in rendered("base"):
        assert each["kind"] != "Secret"


# --- the page


@pytest.mark.parametrize("command", re.findall(r"^kubectl (.*)$", PAGE.read_text(), re.MULTILINE))
def test_commands_of_the_page_name_what_there_is(command: str) -> None:
    """There is no cluster to run them in; but paths, namespaces and names are those of the overlays."""
    words = shlex.split(command)
    if "-k" in words:
        assert (ROOT / words[words.index("-k") + 1] / "kustomization.yaml").exists()
        return
    overlays = {each.all("Namespace")[0]["metadata"]["name"]: each for each in map(Cluster, OVERLAYS)}
    if words[:2] == ["create", "namespace"]:
        assert words[2] in overlays
        return
    cluster = overlays[words[words.index("-n") + 1]]
    if "secret" in words:
        assert words[words.index("generic") + 1] in secrets(cluster, needed=True)
    for kind, name in re.findall(r"\b(deployment|statefulset|service)/(\S+)", command):
        cluster.get({"statefulset": "StatefulSet"}.get(kind, kind.capitalize()), name)
