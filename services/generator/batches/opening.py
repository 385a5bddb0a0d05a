"""Puts the parts of batches together as the settings say: door, worker, or both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter

import ragline.broker
from ragline.broker import Broker
from ragline.http import create_app
from ragline.http.ready import Check
from services.generator.batches import api
from services.generator.batches.batches import Batches
from services.generator.batches.doors import Door, Doors, inside, outside
from services.generator.batches.inputs import Bounds
from services.generator.batches.intake import Intake
from services.generator.batches.storage import Storage
from services.generator.batches.work import Tools
from services.generator.batches.worker import Worker
from services.generator.room import Room
from services.generator.settings import Settings

RETRIEVER_URL = "http://127.0.0.1:8002"
PREPROCESS_URL = "http://127.0.0.1:8001"


@dataclass(frozen=True)
class Opened:
    """What is open for batches. ``worker`` is there unless the role is door."""

    router: APIRouter
    broker: Broker
    doors: Doors
    worker: Worker | None

    async def start(self) -> None:
        """Begin to work on batches."""
        if self.worker:
            await self.worker.start()

    async def stop(self) -> None:
        """End the work, and let go of the queue and the connections."""
        if self.worker:
            await self.worker.stop()
        await self.broker.close()
        await self.doors.close()


def open_batches(settings: Settings, own: APIRouter, check: Check, within: Any | None) -> Opened:
    """Batches over ``own`` routes, whose services are there when ``check`` does not raise.

    ``within``: the application in this process that has the other services' routes. Raises SettingsError.
    """
    folder = settings.data_dir.absolute()
    batches = Batches(
        Storage(settings.batch_url or f"file://{folder}/batches", "GENERATOR_BATCH_URL"), settings.batch_ttl_s
    )
    url, attempts = queue(settings, f"sqlite://{quote(str(folder))}/queue.db")
    broker = ragline.broker.open(url)
    app = create_app("generator", [own], checks={"sources": check})
    doors = Doors(
        generate=inside("generator", app),
        retrieve=door("retriever", settings.retriever_url, RETRIEVER_URL, within, settings),
        embed=door("preprocess", settings.preprocess_url, PREPROCESS_URL, within, settings),
    )
    bounds = Bounds(settings.max_batch_lines, settings.max_batch_line_kb << 10, settings.batch_chunk_lines)
    room = Room(settings.max_batch_uploads, "batches", "GENERATOR_MAX_BATCH_UPLOADS")
    tools = Tools(batches, doors, asyncio.Semaphore(settings.batch_parallel), hold_s=settings.batch_hold_s)
    worker = Worker(broker, tools, concurrency=settings.batch_chunks, max_attempts=attempts)
    return Opened(
        router=api.router(Intake(batches, broker, bounds, room), settings.max_batch_mb),
        broker=broker,
        doors=doors,
        worker=None if settings.role == "door" else worker,
    )


def queue(settings: Settings, default: str) -> tuple[str, int]:
    """The broker's URL with the number of attempts in it, and that number."""
    url = settings.broker_url or default
    parts = urlsplit(url)
    if given := parse_qs(parts.query).get("max_attempts"):
        return url, int(given[0]) if given[0].isdigit() else settings.batch_attempts
    option = f"max_attempts={settings.batch_attempts}"
    return f"{url}{'&' if parts.query else '?'}{option}", settings.batch_attempts


def door(service: str, url: str, default: str, within: Any | None, settings: Settings) -> Door:
    """The door of another service: at the URL that is given, in this process, or where it is by default."""
    if within is not None and not url:
        return inside(service, within)
    return outside(service, url or default, settings.batch_timeout_s)
