"""The address of a running vLLM server."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator


def is_loopback(url: str) -> bool:
    """True where only processes of this machine can reach the server; names other than localhost are not looked up."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked(url: str) -> str:
    """Refuses what is no bare address; a password is not even repeated, config.yaml keeps what stands here."""
    form = "rollout.urls: must be addresses of the form http://host:port"
    if "@" in url:
        raise ValueError(f"{form} without user name or password, got one with; set VLLM_API_KEY in the environment")
    try:
        parts = urlsplit(url)
        is_bare = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not close
        is_bare = False
    if not is_bare or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{form}, got {url!r}")
    return url.rstrip("/")


ServerUrl = Annotated[str, AfterValidator(_checked)]
