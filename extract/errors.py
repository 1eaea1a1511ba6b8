"""Errors of the extractor: the same single class that the store raises."""

from store.errors import UserError

__all__ = ["UserError"]
