"""The store: what a run writes and what the app reads. Never imports torch.

>>> from store import open_store
>>> open_store("store/demo").layer_metrics(variant="maths")
"""

from store.errors import UserError
from store.read.store import Store, open_store
from store.read.verification import verify

__all__ = ["Store", "UserError", "open_store", "verify"]
