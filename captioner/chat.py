"""A client for servers that speak OpenAI's chat protocol, such as vLLM: many requests at a time, answers by id.

    with ChatClient(ChatServer.parse("http://localhost:8000/v1#MODEL"), ChatConfig()) as client:
        answers = client.ask_all({"a": lambda: {"messages": [...]}, "b": lambda: {"messages": [...]}})
        answers["a"].text

    request ──▶ body (in threads) ──▶ slot of max_in_flight ──▶ POST ──▶ answer
                                         └── 408, 429, 5xx, broken connection: wait without the slot, then again

Requests run on one event loop in a thread of their own, so that a slow answer never holds up another, and callers in
several threads share the slots.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from curate.config import nearest
from curate.errors import CaptionerError, UsageError

if TYPE_CHECKING:
    import aiohttp

_MAX_WAIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatConfig:
    """How a chat server is spoken to."""

    max_in_flight: int = 32
    """Requests at a time. A server with continuous batching wants many."""
    timeout_s: float = 300.0
    """For one answer."""
    max_retries: int = 6
    """After refusals for load, server errors and broken connections, with growing, jittered waits."""
    first_wait_s: float = 0.5
    """Before the first retry; each further wait is twice as long, at most a minute."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key, if the server wants one."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request, for example mm_processor_kwargs = {fps = 2}."""

    def __post_init__(self) -> None:
        if self.max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, got {self.max_in_flight}")
        if self.timeout_s <= 0:
            raise ValueError(f"timeout_s must be positive, got {self.timeout_s}")
        if self.max_retries < 0:
            raise ValueError(f"max_retries must not be negative, got {self.max_retries}")


@dataclass(frozen=True, slots=True)
class ChatServer:
    """An address and the name of a model."""

    url: str
    model: str | None

    @classmethod
    def parse(cls, spec: str) -> ChatServer:
        """From `URL#MODEL`; a bare host gets the usual /v1. Raises UsageError for what is no http address."""
        url, _, model = spec.partition("#")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"{spec!r} is no server: expected URL#MODEL, for example http://localhost:8000/v1#MODEL")
        return cls(url.rstrip("/") if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/v1", model or None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatAnswer:
    """The text of an answer and what the server says about it."""

    text: str
    finish_reason: Literal["stop", "length"] | None
    prompt_tokens: int | None
    output_tokens: int | None
    mean_logprob: float | None
    latency_s: float = 0.0
    """From sending the request that was answered to its end; waits and earlier tries are not counted."""


class Unanswered(Exception):
    """Why a request got no usable answer."""

    def __init__(self, reason: str, is_hopeless: bool = False) -> None:
        super().__init__(reason, is_hopeless)
        self.reason = reason
        self.is_hopeless = is_hopeless
        """Whether it concerns every request: nobody at the address, no permission, no such model."""

    def __str__(self) -> str:
        return self.reason


class ChatClient:
    """Keeps up to `max_in_flight` requests to one model under way."""

    def __init__(self, server: ChatServer, config: ChatConfig) -> None:
        self.server, self.config = server, config
        self._url = f"{server.url}/chat/completions"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chat", daemon=True)
        self._thread.start()
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="chat-body")
        self._slots = asyncio.Semaphore(config.max_in_flight)
        self._bodies = asyncio.Semaphore(2 * config.max_in_flight)  # prepared, or being prepared
        self._name = uuid.uuid4().hex[:12]  # marks our requests, wherever a server repeats it
        self._numbers = itertools.count()
        self._session: aiohttp.ClientSession | None = None

    def __enter__(self) -> ChatClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask_all(self, requests: Mapping[str, Callable[[], Mapping[str, Any]]]) -> dict[str, ChatAnswer | Unanswered]:
        """Answers by the ids of the requests. Each request makes its own fields, in a thread, when its turn comes.

        Once an answer is hopeless, requests that were not sent yet end with the same reason.
        """
        return asyncio.run_coroutine_threadsafe(self._ask_all(requests), self._loop).result()

    def models(self) -> dict[str, str] | None:
        """Names and revisions of the server's models; None when it keeps no list. Raises CaptionerError."""
        return asyncio.run_coroutine_threadsafe(self._models(), self._loop).result()

    def close(self) -> None:
        """End the connections and the thread; may be called twice."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pool.shutdown()

    async def _ask_all(self, requests: Mapping[str, Callable[[], Mapping[str, Any]]]) -> dict[str, Any]:
        hopeless: list[Unanswered] = []
        asked = (self._ask(key, fields, hopeless) for key, fields in requests.items())
        return dict(zip(requests, await asyncio.gather(*asked), strict=True))

    async def _ask(
        self, key: str, fields: Callable[[], Mapping[str, Any]], hopeless: list[Unanswered]
    ) -> ChatAnswer | Unanswered:
        async with self._bodies:
            try:
                if hopeless:
                    raise hopeless[0]
                body = await self._loop.run_in_executor(self._pool, self._body, fields)
                return await self._insist(key, body, hopeless)
            except Unanswered as reason:
                if reason.is_hopeless:
                    hopeless.append(reason)
                return reason

    async def _insist(self, key: str, body: bytes, hopeless: list[Unanswered]) -> ChatAnswer:
        for attempt in range(self.config.max_retries + 1):
            async with self._slots:
                if hopeless:
                    raise hopeless[0]
                answer = await self._post(key, body)
            if isinstance(answer, ChatAnswer):
                return answer
            refusal = answer
            if attempt < self.config.max_retries:
                await asyncio.sleep(_wait_s(attempt, self.config.first_wait_s, refusal.after_s))
        tries = f"after {self.config.max_retries + 1} tries"
        if refusal.status is None:
            raise Unanswered(f"{self.server.url} does not answer, {tries}: {refusal.reason}; is it running?", True)
        raise Unanswered(f"{self.server.url} refused with status {refusal.status}, {tries}: {refusal.reason}")

    async def _post(self, key: str, body: bytes) -> ChatAnswer | _Refusal:
        import aiohttp

        session = self._open_session()
        number = next(self._numbers)
        started = time.perf_counter()
        try:
            headers = {"Content-Type": "application/json", "X-Request-Id": f"{key}-{self._name}-{number}"}
            async with session.post(self._url, data=body, headers=headers) as response:
                text = await response.text(errors="replace")
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, asyncio.TimeoutError, OSError) as error:
            return _Refusal(None, f"{type(error).__name__} {error}".strip(), None)
        except aiohttp.ClientError as error:
            raise Unanswered(f"{self.server.url} answered with something that is no HTTP: {error}") from None
        if response.status in (408, 429) or response.status >= 500:
            return _Refusal(response.status, _reason(text), _after_s(response.headers))
        if response.status != 200:
            raise self._refused(self._url, response.status, text)
        self._check_id(number, response.headers.get("X-Request-Id", ""), text)
        return replace(read_answer(text), latency_s=time.perf_counter() - started)

    def _check_id(self, number: int, header: str, text: str) -> None:
        """Servers that repeat our id in a header or in the answer's own id, as vLLM does, are held to it."""
        repeated = re.findall(rf"{self._name}-(\d+)", header + " " + text)
        if any(int(other) != number for other in repeated):
            raise Unanswered(f"{self.server.url} sent the answer to another request")

    def _body(self, fields: Callable[[], Mapping[str, Any]]) -> bytes:
        return json.dumps({"model": self.server.model, **fields(), **self.config.extra}).encode()

    async def _models(self) -> dict[str, str] | None:
        import aiohttp

        url = f"{self.server.url}/models"
        try:
            async with self._open_session().get(url) as response:
                text = await response.text(errors="replace")
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise CaptionerError(f"{self.server.url} does not answer ({reason}); is the server running?") from None
        if response.status == 404:
            return None
        if response.status != 200:
            raise CaptionerError(str(self._refused(url, response.status, text)))
        try:
            return {entry["id"]: str(entry.get("root") or entry["id"]) for entry in json.loads(text)["data"]}
        except (ValueError, KeyError, TypeError):
            raise CaptionerError(f"{url}: expected a list of models, got {_reason(text)}") from None

    def _refused(self, url: str, status: int, text: str) -> Unanswered:
        hint = f"; is the key in the environment variable {self.config.api_key_env} right?"
        said = f"{url} refused with status {status}: {_reason(text)}"
        return Unanswered(said + (hint if status in (401, 403) else ""), status in (401, 403, 404))

    def _open_session(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            key = os.environ.get(self.config.api_key_env)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # the slots are the limit
                timeout=aiohttp.ClientTimeout(total=self.config.timeout_s, sock_connect=30),
                headers={"Authorization": f"Bearer {key}"} if key else None,
            )
        return self._session

    async def _disconnect(self) -> None:
        if self._session is not None:
            await self._session.close()


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a request is worth another try."""

    status: int | None  # None: no connection
    reason: str
    after_s: float | None  # when the server says


def choose_model(server: ChatServer, config: ChatConfig) -> tuple[str, str]:
    """Name and revision of the wanted model, or of the only one. Raises UsageError or CaptionerError."""
    with ChatClient(server, config) as client:
        models = client.models()
    if models is None:  # a server without a list
        if server.model is None:
            raise UsageError(f"{server.url} does not say which models it has; name one: {server.url}#MODEL")
        return server.model, "unreported"
    if server.model is None and len(models) != 1:
        raise UsageError(f"{server.url}: name one of its models as {server.url}#MODEL: {', '.join(sorted(models))}")
    name = server.model or next(iter(models))
    if name not in models:
        raise CaptionerError(f"{server.url} has no model {name}; {nearest(name, models)}")
    return name, models[name]


def read_answer(text: str) -> ChatAnswer:
    """The first choice of a chat completion. Raises Unanswered for what is none."""
    try:
        tree = json.loads(text)
        choice = tree["choices"][0]
        content = choice["message"]["content"]
        usage = tree.get("usage") or {}
        logprobs = [token["logprob"] for token in ((choice.get("logprobs") or {}).get("content") or ())]
        if not isinstance(content, str):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise Unanswered(f"the server's answer is not a chat completion: {_reason(text)}") from None
    return ChatAnswer(
        text=content,
        finish_reason=reason if (reason := choice.get("finish_reason")) in ("stop", "length") else None,
        prompt_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
        mean_logprob=sum(logprobs) / len(logprobs) if logprobs else None,
    )


def _wait_s(attempt: int, first_s: float, after_s: float | None) -> float:
    """Jittered, so that requests refused together do not come back together."""
    wait = first_s * 2**attempt * random.uniform(0.5, 1.0)
    return min(_MAX_WAIT_S, max(wait, after_s or 0.0))


def _after_s(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return None


def _reason(text: str) -> str:
    """The message inside a server's JSON error, or the beginning of whatever it sent."""
    try:
        tree = json.loads(text)
        error = tree.get("error", tree) if isinstance(tree, dict) else tree
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except ValueError:
        pass
    return " ".join(text.split())[:200] or "nothing"
