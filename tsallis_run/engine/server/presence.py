"""Are the servers of `rollout.urls` there? Asked before anything heavy starts, so nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from tsallis_run.config import RolloutConfig, VllmServerRollout
from tsallis_run.types import UserError


def check_servers(rollout: RolloutConfig) -> None:
    """Asks each of `rollout.urls` for a sign of life; workers that the run starts itself are not there yet.

    Raises:
        UserError: with one line for each server that gives none.
    """
    if isinstance(rollout, VllmServerRollout) and (faults := list(_faults(rollout))):
        raise UserError("\n".join(faults))


def _faults(rollout: VllmServerRollout) -> Iterator[str]:
    with ThreadPoolExecutor() as threads:
        silent = threads.map(partial(_fault, within_seconds=rollout.health_timeout_seconds), rollout.urls)
        for url, fault in zip(rollout.urls, silent, strict=True):
            if fault is not None:
                yield (
                    f"rollout.urls: must be running vLLM servers, got {url}: {fault}; start it with "
                    "VLLM_SERVER_DEV_MODE=1, or leave rollout.urls out for workers of the run's own"
                )


def _fault(url: str, within_seconds: float) -> str | None:
    """Why the server does not answer as one of ours would; None where it does."""
    try:
        build_opener(ProxyHandler({})).open(f"{url}/is_paused", timeout=within_seconds).close()
    except HTTPError as error:  # one that is there, but serves no training
        return f"status {error.code} for /is_paused"
    except URLError as error:
        return str(error.reason)
    except (OSError, HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    return None
