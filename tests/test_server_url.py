"""Addresses of running servers: what is refused, and how it is told."""

from __future__ import annotations

import pytest
from small import run_config

from tsallis_run.config.server_url import is_loopback
from tsallis_run.types import UserError


def server(*overrides: str) -> object:
    return run_config("rollout=vllm_server", *overrides).rollout


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000/", "https://127.8.8.8"]
)
def test_servers_of_this_machine_need_no_trust(url: str) -> None:
    rollout = run_config("rollout=vllm_server", f"rollout.urls=['{url}']").rollout
    assert rollout.urls == (url.rstrip("/"),)
    assert not rollout.transfers_over_nccl


@pytest.mark.parametrize("url", ["http://node2:8000", "http://10.0.0.7:8000", "http://localhost.example.org:8000"])
def test_servers_elsewhere_need_it(url: str) -> None:
    with pytest.raises(UserError) as told:
        server(f"rollout.urls=[{url}]")
    (line,) = str(told.value).splitlines()
    assert line.startswith("rollout.urls: must be on this machine")
    assert f"got {url}; set rollout.trust_network=true" in line
    rollout = run_config("rollout=vllm_server", f"rollout.urls=[{url}]", "rollout.trust_network=true").rollout
    assert rollout.transfers_over_nccl
    assert not is_loopback(url)


@pytest.mark.parametrize(
    "url",
    ["node2:8000", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port", "http://127.0.0.1:8000/v1", "http://[::1"],
)
def test_what_is_no_bare_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=r"^rollout.urls: must be addresses of the form http://host:port, got '"):
        server(f"rollout.urls=['{url}']")


def test_a_password_is_refused_without_being_repeated() -> None:
    with pytest.raises(UserError, match=r"without user name or password.*set VLLM_API_KEY") as told:
        server("rollout.urls=['http://me:secret@127.0.0.1:8000']")
    assert "secret" not in str(told.value)


def test_the_way_of_the_weights_fits_where_the_servers_are() -> None:
    elsewhere = ["rollout.urls=[http://node2:8000]", "rollout.trust_network=true"]
    with pytest.raises(UserError, match=r"^rollout.weight_transfer: must be nccl or auto .* got shared_memory"):
        server(*elsewhere, "rollout.weight_transfer=shared_memory")
    with pytest.raises(UserError, match=r"^rollout.weight_transfer: must be shared_memory or auto .* got nccl"):
        server("rollout.weight_transfer=nccl")
