"""Servers given by their URLs are looked for before anything heavy starts."""

from __future__ import annotations

import pytest
from engine.test_server_client import NOBODY, server
from small import run_config

from tsallis_run.engine.server.presence import check_servers
from tsallis_run.types import UserError


def test_servers_that_are_there_pass_and_so_does_a_run_that_is_given_none() -> None:
    with server() as url:
        check_servers(run_config("rollout=vllm_server", f"rollout.urls=[{url}]").rollout)
    for rollout in ("vllm_server", "vllm", "transformers"):
        check_servers(run_config(f"rollout={rollout}").rollout)


def test_each_server_that_is_not_there_or_serves_no_training_is_told() -> None:
    with server() as there, server(lambda path, body: (404, "no such path")) as plain:
        config = run_config("rollout=vllm_server", f"rollout.urls=[{there},{NOBODY},{plain}]")
        with pytest.raises(UserError) as told:
            check_servers(config.rollout)
    remedy = "start it with VLLM_SERVER_DEV_MODE=1, or leave rollout.urls out for workers of the run's own"
    assert str(told.value).splitlines() == [
        f"rollout.urls: must be running vLLM servers, got {NOBODY}: [Errno 111] Connection refused; {remedy}",
        f"rollout.urls: must be running vLLM servers, got {plain}: status 404 for /is_paused; {remedy}",
    ]
