"""The words that stand in a store's columns and that more than one module has to know."""

BASE = "base"
"""The base among the models: the column ``model``, and the name of its codes in the parts."""

ALL = "all"
"""Every domain, or every segment, together."""

KINDS = ("vanished", "attenuated", "unchanged", "amplified", "appeared")
"""How a feature changed: the column ``kind`` (:func:`store.metrics.feature_numbers.feature_kind`)."""

RANKINGS = ("base", "variant", "increase", "decrease", "spread")
"""By what contexts are chosen: the column ``ranking``. The last is a random sample of the tokens where the feature fires in
base or variant, and so spreads over the whole range of its activations."""

OBSERVED = "observed"
"""The variant itself, in the column ``control`` of layer_metrics."""

CONTROLS = ("rerun", "isotropic", "shuffled", "mean_shift")
"""What is encoded instead of the variant: the base again; the base plus a random direction of the token's own ||delta||;
plus another token's delta at that length; plus the mean delta. Definitions: docs/metrics.md."""

GATES = ("fits", "strained", "does not fit")
"""Whether the base's dictionary still describes a variant: the column ``gate`` (store/metrics/feature_numbers.py)."""

VERDICTS = ("suppressed", "amplified", "moved", "does not fit", "near threshold", "within noise", "untestable")
"""What can be said of a feature's change: the column ``verdict`` (:func:`store.metrics.evidence.verdicts`)."""

SUPPORTED = VERDICTS[:2]
"""Those that claim a change."""

VARIANT_NAME = r"[a-z0-9][a-z0-9_-]{0,40}"
"""What a variant may be called: its name stands in paths of the parts and in every page."""
