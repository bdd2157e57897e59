"""Explicit randomness: a generator for each item, seeded by what it is, never by when it runs."""

import hashlib

import numpy as np
import torch


def seed_from(*parts: object) -> int:
    """A 63-bit seed from the printed form of the parts, the same on every machine.

    Args:
        *parts: What identifies the random draw, such as (seed, stimulus id, draw).

    Returns:
        A non-negative integer below 2**63.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(*parts: object) -> torch.Generator:
    """A CPU generator seeded by `seed_from`; draws are moved to the device afterwards."""
    return torch.Generator().manual_seed(seed_from(*parts))


def numpy_generator(*parts: object) -> np.random.Generator:
    """A NumPy generator seeded by `seed_from`."""
    return np.random.default_rng(seed_from(*parts))
