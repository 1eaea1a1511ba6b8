"""Which documents are held out: decided by a hash of the document's name, so that it never depends on order or counts."""

import hashlib

SPLIT_SALT = "featureshift-demo-1"


def hash_fraction(name: str) -> float:
    """A number in [0, 1) that depends on ``name`` alone; also the order in which documents are taken."""
    digest = hashlib.sha256(f"{SPLIT_SALT}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def held_out(name: str, share: float) -> bool:
    """Whether the unit ``name`` (an article, a chapter, a template; never a piece of one) is held out."""
    return hash_fraction(f"split/{name}") < share


def in_hash_order(items: list[dict]) -> list[dict]:
    """Items ordered by a hash of their source, a shuffle that adding or removing items does not disturb."""
    return sorted(items, key=lambda item: hash_fraction(f"order/{item['source']}"))
