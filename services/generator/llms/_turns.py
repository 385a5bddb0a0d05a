"""Gives tenants their turn, and each tenant's sessions theirs, however many requests one of them has waiting."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from ragline.context import Caller

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits. Tenants take turns, the clients of a tenant take turns at its own, and each keeps its order.

    Who has nothing waiting has no turn to lose, and gets the last place of the round when it comes back.
    """

    def __init__(self) -> None:
        self.tenants: dict[str, dict[str, deque[T]]] = {}  # both in the order of their turns
        self.count = 0

    def __len__(self) -> int:
        return self.count

    def add(self, caller: Caller, item: T) -> None:
        """Put ``item`` behind what its caller has waiting."""
        self.tenants.setdefault(caller.tenant, {}).setdefault(caller.client, deque()).append(item)
        self.count += 1

    def next(self) -> T | None:
        """Take out what is on; None where nothing waits."""
        if not self.tenants:
            return None
        tenant, clients = next(iter(self.tenants.items()))
        client, items = next(iter(clients.items()))
        item = items.popleft()
        self.count -= 1
        del clients[client]
        if items:
            clients[client] = items
        del self.tenants[tenant]
        if clients:
            self.tenants[tenant] = clients
        return item

    def remove(self, caller: Caller, item: T) -> bool:
        """Take out what does not wait any longer; False where it is gone already."""
        clients = self.tenants.get(caller.tenant, {})
        items = clients.get(caller.client, deque())
        if item not in items:
            return False
        items.remove(item)
        self.tidy(caller.tenant, caller.client)
        return True

    def displaced(self, caller: Caller) -> T | None:
        """Take out the last of the tenant with the most waiting; None where ``caller``'s has about as many."""
        sizes = {tenant: sum(map(len, clients.values())) for tenant, clients in self.tenants.items()}
        if not sizes:
            return None
        largest = max(sizes, key=lambda tenant: sizes[tenant])
        if sizes[largest] <= sizes.get(caller.tenant, 0) + 1:
            return None
        clients = self.tenants[largest]
        client = max(reversed(clients), key=lambda name: len(clients[name]))
        item = clients[client].pop()
        self.tidy(largest, client)
        return item

    def tidy(self, tenant: str, client: str) -> None:
        """Count one less, and forget who has nothing left waiting."""
        self.count -= 1
        if not self.tenants[tenant][client]:
            del self.tenants[tenant][client]
        if not self.tenants[tenant]:
            del self.tenants[tenant]
