"""What scales which pods in the cluster, and how slowly it takes them away."""

from __future__ import annotations

from typing import Any

from services.generator.batches.manifest import QUEUE as BATCH
from services.preprocess.messages import QUEUE as INGEST
from tests.deploy.cluster import KEDA, WORKERS, Cluster, Document, container


def test_each_target_has_one_autoscaler() -> None:
    prod = Cluster("prod")
    by_load = [each["spec"]["scaleTargetRef"] for each in prod.all("HorizontalPodAutoscaler")]
    by_queue = [each["spec"]["scaleTargetRef"] for each in prod.all("ScaledObject")]
    assert {each["name"] for each in by_load} == {"nginx", "preprocess", "reranker", "generator"}
    assert {each["name"] for each in by_queue} == set(WORKERS)
    assert len(by_load) + len(by_queue) == 6
    for each in (*by_load, *by_queue):
        assert each["apiVersion"] == "apps/v1"
        target = prod.get(each["kind"], each["name"])
        assert "replicas" not in target["spec"]  # it would be set back at each apply
    assert not Cluster("dev").all("HorizontalPodAutoscaler", "ScaledObject")


def test_scaling_down_is_slow() -> None:
    prod = Cluster("prod")
    holders = [each["spec"] for each in prod.all("HorizontalPodAutoscaler")]
    holders += [each["spec"]["advanced"]["horizontalPodAutoscalerConfig"] for each in prod.all("ScaledObject")]
    for behaviour in (each["behavior"] for each in holders):
        down = behaviour["scaleDown"]
        assert down["stabilizationWindowSeconds"] >= 300
        assert all(policy["type"] == "Pods" and policy["value"] == 1 for policy in down["policies"])
    for each in prod.all("HorizontalPodAutoscaler"):
        assert each["spec"]["minReplicas"] >= 2
        budget = prod.get("PodDisruptionBudget", each["metadata"]["name"])
        assert budget["spec"]["maxUnavailable"] < each["spec"]["minReplicas"]


SCALED_OBJECT: dict[str, type] = {
    "scaleTargetRef": dict,
    "pollingInterval": int,
    "minReplicaCount": int,
    "maxReplicaCount": int,
    "advanced": dict,
    "triggers": list,
}


def test_workers_follow_their_queues() -> None:
    """The form of KEDA's kinds, which no schema here knows, and the queues that the code names."""
    prod = Cluster("prod")
    queues = {"preprocess-worker": INGEST, "generator-worker": BATCH}
    (authentication,) = prod.all("TriggerAuthentication")
    assert authentication["spec"] == {
        "secretTargetRef": [{"parameter": "host", "name": "ragline-broker", "key": "url"}]
    }
    for scaled in prod.all("ScaledObject"):
        assert scaled["apiVersion"] == authentication["apiVersion"] == KEDA
        spec = scaled["spec"]
        assert {name: type(value) for name, value in spec.items()} == SCALED_OBJECT
        assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
        (trigger,) = spec["triggers"]
        assert trigger.keys() == {"type", "metadata", "authenticationRef"}
        assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}
        assert trigger["type"] == "rabbitmq"
        metadata: dict[str, Any] = trigger["metadata"]
        assert metadata.keys() == {"protocol", "queueName", "mode", "value"}
        assert all(isinstance(value, str) for value in metadata.values())
        assert metadata["queueName"] == queues[scaled["metadata"]["name"]]
        assert (metadata["protocol"], metadata["mode"]) == ("amqp", "QueueLength")
        broker: Document = next(
            entry
            for entry in container(prod.workload(scaled["metadata"]["name"]))["env"]
            if entry["name"] == "RAGLINE_BROKER_URL"
        )
        assert broker["valueFrom"]["secretKeyRef"] == {"name": "ragline-broker", "key": "url"}
