"""Fixed numbers for ids: what is drawn for a row depends on its id alone, not on the other rows or their order."""

from __future__ import annotations

import hashlib

_HASH_BITS = 256
_FLOAT_BITS = 53
"""More would round the largest hashes up to 1.0, outside [0, 1)."""


def hashed(purpose: str, id: str) -> int:
    """A number of 256 bits; what is drawn for one purpose says nothing about another."""
    return int.from_bytes(hashlib.sha256(f"{purpose}\n{id}".encode()).digest())


def point(purpose: str, id: str) -> float:
    """A number in [0, 1), evenly spread over ids."""
    return (hashed(purpose, id) >> (_HASH_BITS - _FLOAT_BITS)) / (1 << _FLOAT_BITS)
