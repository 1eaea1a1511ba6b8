"""Every number that decides what is said of a change, and that more than one module knows: here once, by name.

Those that a single module decides by stay with it (store/metrics/change_summary.py, extract/tables/labels.py).
"""

LEVEL = 0.95
"""Of every interval."""

MIN_DOCUMENTS = 50
"""Below this many documents there is no interval, and numbers are badged."""

STRATUM_DOCUMENTS = 10
"""Domains of fewer documents are put together: too few to tell their own variance."""

FIT_FVU, FIT_TIMES = 0.5, 1.5
"""A dictionary fits a variant up to this fvu, and up to so many times the base's."""

MISFIT_FVU, MISFIT_TIMES = 0.8, 3.0
"""It does not fit beyond this fvu, or beyond so many times the base's."""

NEARLY_ALL = 0.9
"""Share of a feature's firings from which it vanished, or appeared."""

TESTABLE_FIRINGS = 50
"""A feature is testable from this many firings on, base and variant counted together (2 n11 + n10 + n01)..."""

TESTABLE_DOCUMENTS = 20
"""...in at least this many documents. Neither looks at the difference of the two models."""

Q = 0.05
"""False discovery rate: a change is claimed where q is below."""

POWER = 0.8
"""Of ``minimum_detectable``: the share of equal corpora that would have shown a shift of that size."""

FLOOR_FEATURES = 200
"""Features of like frequency whose shift under the isotropic control makes a floor."""

FLOOR_PERCENTILE = 99.0
"""Of their |shift_isotropic|."""

SAME_DIRECTION = 0.7
"""Decoder cosine from which two features may be the same: a neighbour that took over, or a second dictionary's counterpart."""

MOVED_SHARE = 0.5
"""Part of a feature's |shift| that the neighbour must have gained, or lost, at least."""

NEAR_THRESHOLD = 0.5
"""Share of flips close to the threshold from which on a change says nothing but that."""

DENSE = 0.1
"""A feature that fires on more than this share of the tokens is called dense."""

SINK_FACTOR = 4.0
"""A token whose base norm is beyond this many times the layer's median is an attention sink, unless a run sets another."""

MOST_CONTEXTS = 200
"""A store never keeps more contexts of a feature, variant and ranking."""
