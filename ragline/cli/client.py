"""Talks to the REST doors for the command line; a problem document becomes one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
from httpx_sse import connect_sse


class Failure(Exception):
    """What went wrong, in one sentence for the person at the terminal.

    ``status`` is the server's, if it answered; ``retry_after_s`` is there if it asks to be tried again.
    """

    exit_status = 1

    def __init__(self, sentence: str, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after_s = retry_after_s


class Client:
    """A REST client of the suite at ``base_url``. Every method raises Failure."""

    def __init__(self, base_url: str, timeout_s: float = 120.0) -> None:
        self.base_url = base_url
        self.http = httpx.Client(base_url=base_url, timeout=timeout_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The JSON object at ``path``; parameters that are None are left out."""
        return self.send("GET", path, params={k: v for k, v in params.items() if v is not None})

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON answer to ``body``."""
        return self.send("POST", path, json=body)

    def send(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """One request and its JSON answer."""
        try:
            response = self.http.request(method, path, **request)
        except httpx.TransportError as error:
            raise self.unreachable(error) from error
        if response.is_error:
            raise refusal(response)
        answer: dict[str, Any] = orjson.loads(response.content)
        return answer

    def events(self, path: str, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The typed events of a stream, as (event, data); a stream that ends without ``done`` failed."""
        try:
            with connect_sse(self.http, "POST", path, json=body) as source:
                if source.response.is_error:
                    source.response.read()
                    raise refusal(source.response)
                for event in source.iter_sse():
                    data = orjson.loads(event.data)
                    if event.event == "error":
                        raise Failure(str(data.get("detail", "the stream failed")))
                    yield event.event, data
                    if event.event == "done":
                        return
        except httpx.TransportError as error:
            raise self.unreachable(error) from error
        raise Failure("The stream broke off before it was done; ask again.")

    def unreachable(self, error: httpx.TransportError) -> Failure:
        """The sentence for a server that is not there or went away."""
        if isinstance(error, httpx.ConnectError):
            return Failure(f"Nothing answers at {self.base_url}; start it with `ragline up`, or set RAGLINE_URL.")
        return Failure(f"{self.base_url} broke the connection off ({type(error).__name__}); try again.")


def refusal(response: httpx.Response) -> Failure:
    """What the server says to a request that it does not fulfil."""
    after = response.headers.get("retry-after", "")
    return Failure(problem_sentence(response), response.status_code, float(after) if after.isdigit() else None)


def problem_sentence(response: httpx.Response) -> str:
    """One sentence from a problem document, or from the status where there is none."""
    try:
        problem = orjson.loads(response.content)
        detail = str(problem["detail"])
        more = [f"{e['field']}: {e['detail']}" for e in problem.get("errors", []) if e["detail"] not in detail]
        return f"{detail} ({'; '.join(more)})" if more else detail
    except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError):
        return f"The server answered {response.status_code} {response.reason_phrase}."
