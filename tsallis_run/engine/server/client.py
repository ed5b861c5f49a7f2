"""Many requests in flight to several servers; what one of them loses is asked for again.

Every request brings its own seed: asked again, of whichever server, it is answered with the same tokens.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import aiohttp

from tsallis_run.engine.server.addresses import Addresses
from tsallis_run.engine.server.answers import LostRequestError, completion_of, scores_of
from tsallis_run.engine.server.control import authorization
from tsallis_run.engine.vllm_settings import SCORING_SETTINGS, sampling_settings
from tsallis_run.types import Completion, CompletionRequest, EngineError

T = TypeVar("T")

MAX_TRIES = 5
"""Of one request at one address; a worker that was started again has another address."""
PAUSE_SECONDS = 1.0
"""Between two tries, and between two looks for a worker while there is none."""
CONNECT_SECONDS = 10.0
"""For a machine that is gone without a word."""


@dataclass(frozen=True)
class Question(Generic[T]):
    """One request on the wire, and how its answer is read."""

    body: dict[str, Any]
    read: Callable[[Any], T]
    """Raises LostRequestError where it is worth asking again, EngineError where it is not."""


@dataclass(frozen=True)
class Client:
    """Requests to the servers whose addresses are looked up at every try; callable from any thread."""

    look_up: Callable[[], Addresses]
    vocabulary: int
    """Number of token ids."""
    first_server: int
    """With which of the servers to begin: differs between ranks."""
    timeout_seconds: float
    """Of one call, all its requests together."""
    silence_seconds: float | None
    """A server that gives no sign of life for so long has failed; None where somebody else watches the servers."""

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        """One completion a request, in their order; the requests are spread evenly over the servers.

        Raises:
            EngineError: where a server answers nonsense, or none answers in time.
        """
        return asyncio.run(self._ask([self._completion_question(request) for request in requests]))

    def score(self, ids: Sequence[int]) -> list[list[float]]:
        """log p(ids[t] | ids[:t]) for t >= 1, by each of the servers; raises as `complete`."""
        body = {"prompt": list(ids), **SCORING_SETTINGS}
        question = Question(body, partial(scores_of, ids=ids))
        return asyncio.run(self._ask([question] * max(1, len(self.look_up().urls))))

    def _completion_question(self, request: CompletionRequest) -> Question[Completion]:
        body = {"prompt": list(request.prompt_ids), **sampling_settings(request)}
        as_ids = {"return_token_ids": True, "return_tokens_as_token_ids": True}
        return Question(body | as_ids, partial(completion_of, request=request, vocabulary=self.vocabulary))

    async def _ask(self, questions: Sequence[Question[T]]) -> list[T]:
        connector = aiohttp.TCPConnector(limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=limit, headers=authorization()) as session:
            answers = asyncio.gather(*(self._answer(session, i, question) for i, question in enumerate(questions)))
            watch = asyncio.create_task(self._watch())
            both: set[asyncio.Future[Any]] = {answers, watch}
            try:
                await asyncio.wait(both, timeout=self.timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
                if watch.done():
                    watch.result()
                if not answers.done():
                    raise EngineError(
                        f"rollout.timeout_seconds={self.timeout_seconds:g} passed before all of {len(questions)} "
                        f"requests were answered by {', '.join(self.look_up().urls) or 'a worker'}"
                    )
                return answers.result()
            finally:
                for future in both:
                    future.cancel()
                await asyncio.gather(*both, return_exceptions=True)

    async def _answer(self, session: aiohttp.ClientSession, number: int, question: Question[T]) -> T:
        tries: Counter[str] = Counter()
        for turn in itertools.count(self.first_server + number):
            addresses = self.look_up()
            if addresses.failure is not None:
                raise EngineError(addresses.failure)
            if addresses.urls:
                url = addresses.urls[turn % len(addresses.urls)]
                try:
                    return question.read(await _post(session, url, question.body))
                except (aiohttp.ClientError, OSError, LostRequestError) as error:
                    tries[url] += 1
                    if tries[url] == MAX_TRIES:
                        raise EngineError(f"{url} failed {MAX_TRIES} times: {type(error).__name__}: {error}") from error
            await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError("itertools.count does not end")

    async def _watch(self) -> None:
        """Ends with an error once there will be no more servers, or one is silent and it is on us to find that out."""
        urls = () if self.silence_seconds is None else self.look_up().urls
        async with aiohttp.ClientSession(headers=authorization()) as session:  # of its own: it does not queue
            await asyncio.gather(self._watch_addresses(), *(self._watch_server(session, url) for url in urls))

    async def _watch_addresses(self) -> None:
        while (failure := self.look_up().failure) is None:
            await asyncio.sleep(PAUSE_SECONDS)
        raise EngineError(failure)

    async def _watch_server(self, session: aiohttp.ClientSession, url: str) -> None:
        """A server that refuses connections is found out by the requests."""
        limit = aiohttp.ClientTimeout(total=self.silence_seconds)
        while True:
            try:
                async with session.get(f"{url}/is_paused", timeout=limit):
                    await asyncio.sleep(PAUSE_SECONDS)
            except TimeoutError as error:
                raise EngineError(f"{url} gave no sign of life for {self.silence_seconds:g} s") from error
            except aiohttp.ClientError:
                await asyncio.sleep(PAUSE_SECONDS)


async def _post(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Any:
    """The answer of /v1/completions; a fault of the server's own is raised as one that may pass."""
    async with session.post(f"{url}/v1/completions", json=body) as response:
        text = await response.text()
    if response.status >= 500:
        raise LostRequestError(f"status {response.status}: {text[:500]}")
    if response.status >= 400:
        raise EngineError(f"{url} refused a request with status {response.status}: {text[:500]}")
    try:
        return json.loads(text)
    except ValueError as error:
        raise EngineError(f"{url} answered with something else than JSON: {text[:500]}") from error
