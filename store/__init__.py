"""The store: what a run writes and what the app reads. Never imports torch.

>>> from store import open_store
>>> open_store("store/demo").layer_metrics(variant="maths")
"""

from store.errors import UserError
from store.read.connection import Store, open_store, verify

__all__ = ["Store", "UserError", "open_store", "verify"]
