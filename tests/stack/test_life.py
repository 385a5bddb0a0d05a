"""The suite's life as a process: start, drain, death, a second start, and every start that must not be."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx_sse import connect_sse

from tests import chaos
from tests.suite import Suite, free_ports, put, wait_for_job

pytestmark = [pytest.mark.models, pytest.mark.stack]

QUICK = {"GENERATOR_LLM": "extractive"}
TEXT = "The lighthouse keeper number {n} winds the clock at dusk. "


@pytest.fixture
def own(tmp_path: Path, minilm: Path, smollm2: Path) -> Iterator[Suite]:
    """A suite of the test's own, not started yet."""
    suite = Suite(tmp_path / "suite", QUICK)
    yield suite
    suite.stop()


def refused(suite: Suite, **environment: str) -> str:
    """The one sentence of a start that must not be."""
    ended = subprocess.run(
        [sys.executable, "-m", "services"],
        env={**suite.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 2, ended
    assert ended.stderr.startswith("ragline: ")
    assert len(ended.stderr.splitlines()) == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_stop_lets_requests_end(own: Suite) -> None:
    own.environment["GENERATOR_LLM"] = "llamacpp"
    own.start()
    assert "is ready at" in own.log
    with own.client() as client:
        put(client, [{"id": "keeper", "text": TEXT.format(n=1)}])
        body = {"query": "Who winds the clock at dusk?", "stream": True}
        with connect_sse(client, "POST", "/generate", json=body) as source:
            events = source.iter_sse()
            kinds = [next(events).event]
            assert own.process is not None
            own.process.send_signal(signal.SIGTERM)
            kinds += [event.event for event in events]
    assert kinds[-1] == "done"
    assert own.process.wait(30) == 0
    assert "Traceback" not in own.log


@pytest.mark.parametrize("wish", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_starting_ends_it(own: Suite, wish: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "services"],
        env=own.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        data = Path(own.environment["RAGLINE_DATA_DIR"])
        while not data.exists():
            assert process.poll() is None
        os.killpg(process.pid, wish)
        _, said = process.communicate(timeout=60)
    assert process.returncode in {0, 130, -wish}
    assert "Traceback" not in said


def test_what_was_acknowledged_survives_kill_9(own: Suite) -> None:
    own.start()
    documents = [{"id": f"keeper{n}", "text": TEXT.format(n=n) * 20} for n in range(60)]
    with own.client() as client:
        accepted = client.post("/documents", json={"documents": documents}).json()
        while client.get(f"/jobs/{accepted['job_id']}").json()["done"] < 3:
            pass
    own.kill()
    own.start()
    with own.client() as client:
        job = wait_for_job(client, accepted["job_id"])
        assert (job["state"], job["done"], job["errors"]) == ("done", 60, [])
        for n in range(60):
            body = {"query": f"keeper number {n}", "filter": {"document_id": f"keeper{n}"}, "top_k": 100}
            passages = client.post("/retrieve", json=body).json()["passages"]
            text = client.get(f"/documents/keeper{n}").json()["text"]
            assert text == documents[n]["text"]
            assert min(passage["start"] for passage in passages) == 0
            assert max(passage["end"] for passage in passages) == len(text.rstrip())
    assert own.stop() == 0


def test_a_second_process_on_the_same_data_is_refused(own: Suite) -> None:
    own.start()
    ports = dict(zip(("RAGLINE", "PREPROCESS", "RETRIEVER", "RERANKER", "GENERATOR"), free_ports(5), strict=True))
    other = {f"{name}_{'PORT' if name == 'RAGLINE' else 'GRPC_PORT'}": str(port) for name, port in ports.items()}
    said = refused(own, **other)
    assert own.environment["RAGLINE_DATA_DIR"] in said
    assert own.ready()


@pytest.mark.parametrize("setting", ["RAGLINE_PORT", "RETRIEVER_GRPC_PORT"])
def test_a_port_in_use_is_named(own: Suite, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert {setting, port} <= set(refused(own, **{setting: port}).replace("=", " ").replace(":", " ").split())


BAD = [
    ({"RAGLINE_PROT": "1"}, "RAGLINE_PORT"),
    ({"RETRIEVER_SPRASE": "tantivy"}, "RETRIEVER_SPARSE"),
    ({"GENERATOR_LLM": "gpt9"}, "extractive"),
    ({"RERANKER_SCORER": "magic"}, "late_interaction"),
    ({"PREPROCESS_EMBEDDER": "no.such:Class"}, "no.such"),
    ({"PREPROCESS_MAX_TOKENS": "many"}, "PREPROCESS_MAX_TOKENS"),
    ({"PREPROCESS_EMBEDDER_OPTIONS": '{"modle": "x"}'}, "modle"),
    ({"RAGLINE_MODELS_DIR": "/nowhere/at/all"}, "ragline models pull"),
    ({"RAGLINE_DATA_DIR": "/proc/nowhere"}, "/proc/nowhere"),
    ({"RAGLINE_LOG_LEVEL": "loud"}, "RAGLINE_LOG_LEVEL"),
]


@pytest.mark.parametrize(("environment", "told"), BAD, ids=lambda value: str(value)[:60])
def test_bad_settings_stop_the_start(own: Suite, environment: dict[str, str], told: str) -> None:
    assert told in refused(own, **environment)


def test_a_model_that_was_altered_stops_the_start(own: Suite, minilm: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(minilm.parent, models)
    weights = models / minilm.name / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size - 1)
    assert "ragline models pull" in refused(own, RAGLINE_MODELS_DIR=str(models))


def test_it_starts_and_answers_without_a_network(tmp_path: Path, minilm: Path, smollm2: Path) -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine does not let a test have a network of its own")
    ended = subprocess.run(
        [*alone, sys.executable, "-m", "tests.stack.offline", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


def test_nothing_is_lost_in_three_kills(tmp_path: Path, minilm: Path, smollm2: Path) -> None:
    ledger = chaos.run(tmp_path, kills=3, seed=7, environment=QUICK)
    assert ledger.versions


def test_two_clients_of_one_id_leave_one_whole_document(own: Suite) -> None:
    own.start()
    failures: list[Any] = []

    def write(name: str) -> None:
        with own.client() as client:
            for n in range(10):
                job = put(client, [{"id": "shared", "text": f"{name} wrote line {n}. " * 30}])
                if job["errors"]:
                    failures.append(job)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("Anna", "Boris")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with own.client() as client:
        text = client.get("/documents/shared").json()["text"]
        passages = client.post("/retrieve", json={"query": "line", "top_k": 100}).json()["passages"]
        assert {text[p["start"] : p["end"]] == p["text"] for p in passages} == {True}
        assert len({line.strip() for line in text.split(".") if line.strip()}) == 1
