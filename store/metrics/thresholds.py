"""Every number that decides what is said of a change, and that more than one module knows: here once, by name.

Those that a single module decides by stay with it (store/metrics/change_summary.py, extract/tables/labels.py).
"""

LEVEL = 0.95
"""Of every interval."""

MIN_CLUSTERS = 20
"""Below this many clusters of documents there is no interval, and numbers are badged. Why 20: docs/bench-truth.md."""

STRATUM_CLUSTERS = 10
"""Domains of fewer clusters are put together: too few to tell their own variance."""

FIT_FVU, FIT_TIMES = 0.5, 1.5
"""A dictionary fits a variant up to this fvu, and up to so many times the base's."""

MISFIT_FVU, MISFIT_TIMES = 0.8, 3.0
"""It does not fit beyond this fvu, or beyond so many times the base's."""

NEARLY_ALL = 0.9
"""Share of a feature's activation from which it vanished, or appeared."""

MATERIAL = 0.5
"""Share of its activation that a feature must have lost, or newly have, for the change to be material, unless a run sets
another: it lost half, or doubled."""

SEEN_FIRINGS = 50
"""A material change of a feature could have been seen from this many firings on, of base or variant, whichever has more..."""

SEEN_CLUSTERS = 10
"""...in at least this many clusters of documents, counted by how evenly they share its activation."""

Q = 0.05
"""Share of false ones among the changes that are claimed, as estimated from twins."""

SAME_DIRECTION = 0.7
"""Decoder cosine from which two features may be the same: a neighbour that took over, or a second dictionary's counterpart."""

DENSE = 0.1
"""A feature that fires on more than this share of the tokens is called dense."""

SINK_FACTOR = 4.0
"""A token whose base norm is beyond this many times the layer's median is an attention sink, unless a run sets another."""

MOST_CONTEXTS = 200
"""A store never keeps more contexts of a feature, variant and ranking."""
