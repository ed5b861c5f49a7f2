"""The calls by which a server is watched and given weights: few, one at a time, each with a time limit."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import aiohttp

from tsallis_run.engine.server.shared_weights import SharedWeights
from tsallis_run.types import EngineError, UserError

HEALTH_SECONDS = 1.0
"""Between two looks at a server's health while a call is under way."""


class ServerError(EngineError):
    """A server did not answer in time, or not as it should."""


class Server:
    """One vLLM server, started with VLLM_SERVER_DEV_MODE=1; every call raises `ServerError` where it fails."""

    def __init__(self, url: str, *, limit_seconds: float) -> None:
        self.url = url
        self._limit_seconds = limit_seconds

    def check_health(self, within_seconds: float | None = None) -> None:
        """A sign of life from the engine itself: /health asks only the process in front of it."""
        self._call("GET", "/is_paused", within_seconds=within_seconds)

    def reset_cache(self) -> bool:
        """Forgets cached prefixes; False where some are in use."""
        return bool((self._call("POST", "/reset_prefix_cache") or {}).get("success"))

    def num_devices(self) -> int:
        """Processes that hold the model's parts: tensor parallel times pipeline parallel times data parallel."""
        return int(self._call("GET", "/get_world_size")["world_size"])

    def load(self, weights: SharedWeights) -> None:
        """Brings the weights to the server, from memory that it shares with this process.

        Raises:
            UserError: where the model has weights that are not among them.
        """
        self.begin_update()
        try:
            self.update({"path": weights.path, "version": weights.version})
        except ServerError as fault:
            complaint = str(fault)
            if "model.path: " in complaint:  # told by `check_complete` inside the worker, wrapped by vLLM
                raise UserError(complaint[complaint.index("model.path: ") :].partition("', please")[0]) from fault
            raise
        self.end_update(weights.version)

    def begin_update(self) -> None:
        """Drops what is left of earlier requests and opens an update of the weights."""
        self._call("POST", "/pause?mode=abort")
        self._call("POST", "/start_weight_update")

    def update(self, update_info: dict[str, Any]) -> None:
        """Announces weights in the form of the server's transfer backend; returns once they are loaded."""
        self._call("POST", "/update_weights", {"update_info": update_info})

    def end_update(self, version: int) -> None:
        """Closes the update: cached prefixes are forgotten, requests are served again."""
        self._call("POST", "/finish_weight_update", {"weight_version": str(version)})
        if not self.reset_cache():
            raise ServerError(f"{self.url} kept prefixes of older weights")
        self._call("POST", "/resume")

    def init_transfer(self, init_info: dict[str, Any]) -> None:
        """Has the server's transfer backend meet this process."""
        self._call("POST", "/init_weight_transfer_engine", {"init_info": init_info})

    def _call(self, method: str, path: str, body: Any = None, *, within_seconds: float | None = None) -> Any:
        limit_seconds = within_seconds or self._limit_seconds
        try:
            status, text = asyncio.run(self._ask(method, path, body, limit_seconds))
        except TimeoutError as error:
            raise ServerError(f"{self.url} gave no answer to {path} within {limit_seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServerError(f"{self.url} broke off at {path}: {type(error).__name__}: {error}") from error
        if status >= 400:
            raise ServerError(f"{self.url} answered {path} with {status}: {_complaint(text)}")
        return _json(text)

    async def _ask(self, method: str, path: str, body: Any, limit_seconds: float) -> tuple[int, str]:
        """The answer, or what /health says as soon as the engine is dead: a call into it would not come back."""
        limit = aiohttp.ClientTimeout(total=limit_seconds)
        async with aiohttp.ClientSession(self.url, headers=authorization(), timeout=limit) as session:
            answer = asyncio.create_task(_exchange(session, method, path, body))
            health = asyncio.create_task(_end_of_health(session))
            try:
                await asyncio.wait({answer, health}, return_when=asyncio.FIRST_COMPLETED)
                return (answer if answer.done() else health).result()
            finally:
                answer.cancel()
                health.cancel()


async def _exchange(session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, str]:
    async with session.request(method, path, json=body) as response:
        return response.status, await response.text()


async def _end_of_health(session: aiohttp.ClientSession) -> tuple[int, str]:
    """What /health says once it is not well; it answers at once also while the engine is at work."""
    while True:
        await asyncio.sleep(HEALTH_SECONDS)
        status, text = await _exchange(session, "GET", "/health")
        if status >= 500:
            return status, f"unhealthy: {text}"


def authorization() -> dict[str, str]:
    """What a server started with VLLM_API_KEY asks for; from the environment, so that it is written nowhere."""
    key = os.environ.get("VLLM_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None  # a server that is up answers some calls without a body


def _complaint(text: str) -> str:
    """What a server says went wrong, taken out of its wrapping where it has the usual one."""
    answer = _json(text)
    error = answer.get("error") if isinstance(answer, dict) else None
    return str(error["message"]) if isinstance(error, dict) and "message" in error else text
