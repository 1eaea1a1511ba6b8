"""The words that stand in a store's columns and that more than one module has to know."""

BASE = "base"
"""The base among the models: the column ``model``, and the name of its codes in the parts."""

ALL = "all"
"""Every domain, or every segment, together."""

KINDS = ("vanished", "attenuated", "unchanged", "amplified", "appeared")
"""How a feature changed: the column ``kind`` (:func:`store.metrics.feature_kind`)."""

RANKINGS = ("base", "variant", "increase", "decrease")
"""By what contexts are chosen: the column ``ranking``."""
