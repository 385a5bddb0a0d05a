"""Whether replicas share the work, new ones are found, and one that goes takes no request with it.

`python3 -m tests.deploy.spread` beside a stack that was started with two replicas of reranker and of preprocess;
exits 1 with a sentence where something is not as it must be.
"""

from __future__ import annotations

import statistics
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from tests.deploy import door
from tests.deploy.ask_through_nginx import DOCS, ms, say
from tests.deploy.load import Load, Request
from tests.deploy.stack import Replica, replicas, run, scale, wait_healthy

COUNT = 200
CALLS, OWN = "ragline_grpc_requests_total", 'method="/ragline.v1.'  # not the calls that ask for health
LEAST_SHARE = 0.4
FOUND_S = 10.0
RUN = uuid.uuid4().hex[:8]
COLLECTION = f"spread-{RUN}"
PASSAGES = [
    "The mills of Brell were closed in 1921.",
    "The harbour holds 17 boats.",
    "Lost messages are sent again.",
]


def main() -> int:
    """Run it; the exit status."""
    try:
        files = {path.as_posix(): path for path in sorted(Path(DOCS).rglob("*.md"))}
        door.ended(door.upload(files, COLLECTION))
        check_doors()
        check_calls()
        check_new_replica()
        check_loss("kill")
        check_loss("stop")
        for service in ("reranker", "preprocess", "generator"):
            check_upgrade(service)
    except (door.Wrong, OSError) as error:
        say(f"WRONG: {error}")
        return 1
    return 0


def check_doors() -> None:
    """Requests that NGINX hands out."""
    for service, route, request in (("preprocess", "/embed", embed), ("reranker", "/rerank", rerank)):
        found = two(service)
        label = f'route="{route}"'
        share_out(f"REST {route}", found, request, "ragline_http_requests_total", label)


def check_calls() -> None:
    """Calls between services: a question is embedded by one preprocess and reranked by one reranker."""
    for service in ("preprocess", "reranker"):
        share_out(f"gRPC to {service}", two(service), generate, CALLS, OWN)


def share_out(what: str, found: list[Replica], request: Request, metric: str, *labels: str) -> None:
    """Send requests, then hold each replica's part of the work against the least share."""
    before = [replica.metric(metric, *labels) for replica in found]
    with Load(request, count=COUNT) as load:
        pass
    load.check()
    done = [replica.metric(metric, *labels) - start for replica, start in zip(found, before, strict=True)]
    shares = [part / max(1.0, sum(done)) for part in done]
    middle = ms(statistics.median(answer.seconds for answer in load.answers))
    say(f"{what}: {COUNT} requests, shares {' / '.join(f'{share:.2f}' for share in shares)}, middle {middle}")
    if min(shares) < LEAST_SHARE:
        raise door.Wrong(f"{what}: the shares are {shares}")


def check_new_replica() -> None:
    """A third reranker gets work within seconds of being healthy, while questions go on."""
    known = {replica.id for replica in two("reranker")}
    with Load(generate) as load:
        begun = time.monotonic()
        scale("reranker", 3)
        new = next(replica for replica in replicas("reranker") if replica.id not in known)
        wait_healthy([new])
        healthy = time.monotonic()
        while not new.metric(CALLS, OWN):
            if time.monotonic() - healthy > FOUND_S:
                raise door.Wrong(f"the third reranker got no work within {FOUND_S:g} s")
            time.sleep(0.1)
        used = time.monotonic()
    load.check()
    say(
        f"third reranker: healthy {healthy - begun:.1f} s after the command, at work {used - healthy:.1f} s later "
        f"with {len(load.answers)} questions meanwhile, none failed, {load.degraded()} degraded"
    )


def check_loss(how: str) -> None:
    """A replica of each service is killed (-9) or told to stop under load; no request fails."""
    for service, requests in (("reranker", (generate, rerank)), ("preprocess", (retrieve, embed))):
        # Only what is asked through another service outlives kill -9 for certain; NGINX repeats what only reads.
        wait_healthy(replicas(service))
        leaving = replicas(service)[-1]
        loads = [Load(request) for request in requests]
        with loads[0], loads[1]:
            for load in loads:
                load.go_on(20)
            run("docker", how, leaving.id)
            for load in loads:
                load.go_on(100)
        for load in loads:
            load.check()
        sent = sum(len(load.answers) for load in loads)
        slowest = max(answer.seconds for load in loads for answer in load.answers)
        worse = sum(load.degraded() for load in loads)
        say(f"docker {how} {leaving.name}: {sent} requests, none failed, {worse} degraded, slowest {ms(slowest)}")
        run("docker", "start", leaving.id)


def check_upgrade(service: str) -> None:
    """All replicas of a service are replaced under load; no request fails."""
    before = {replica.id for replica in replicas(service)}
    loads = [Load(generate), Load({"reranker": rerank, "preprocess": embed}.get(service, retrieve))]
    with loads[0], loads[1]:
        for load in loads:
            load.go_on(20)
        begun = time.monotonic()
        run("deploy/upgrade.sh", service)
        took = time.monotonic() - begun
        for load in loads:
            load.go_on(100)
    for load in loads:
        load.check()
    if before & {replica.id for replica in replicas(service)}:
        raise door.Wrong(f"a replica of {service} was not replaced")
    sent = sum(len(load.answers) for load in loads)
    slowest = max(answer.seconds for load in loads for answer in load.answers)
    say(f"upgrade of {len(before)} {service} in {took:.1f} s: {sent} requests, none failed, slowest {ms(slowest)}")


def two(service: str) -> list[Replica]:
    """The replicas of a service, of which there must be two."""
    found = replicas(service)
    if len(found) != 2:
        raise door.Wrong(f"start it with --scale {service}=2; there are {len(found)}")
    return found


def embed(number: int) -> tuple[str, dict[str, Any]]:
    """A text that nobody embedded before."""
    return "/embed", {"input": [f"the boats of {RUN} number {number} {uuid.uuid4().hex}"]}


def rerank(number: int) -> tuple[str, dict[str, Any]]:
    """A small reranking."""
    return "/rerank", {"query": f"When were the mills closed, {RUN} {number}?", "passages": PASSAGES}


def retrieve(number: int) -> tuple[str, dict[str, Any]]:
    """A search that no cache knows."""
    return "/retrieve", {
        "query": f"How is a message retried, {uuid.uuid4().hex} {number}?",
        "collection": COLLECTION,
    }


def generate(number: int) -> tuple[str, dict[str, Any]]:
    """A question that no cache knows."""
    query = f"How often is a document tried whose message failed, {uuid.uuid4().hex} {number}?"
    return "/generate", {"query": query, "collection": COLLECTION}


if __name__ == "__main__":
    sys.exit(main())
