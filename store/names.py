"""The words that stand in a store's columns and that more than one module has to know."""

BASE = "base"
"""The base among the models: the column ``model``, and the name of its codes in the parts."""

ALL = "all"
"""Every domain, or every segment, together."""

KINDS = ("vanished", "weakened", "steady", "strengthened", "appeared")
"""How a feature changed: the column ``kind`` (:func:`store.metrics.feature_numbers.feature_kind`)."""

KIND_NAMES = {"steady": "no material change"}
"""What people read where that is not the kind's name: a feature of kind 'steady' may be one that could not be seen."""


def kind_name(kind: str) -> str:
    """What people read for a kind."""
    return KIND_NAMES.get(kind, kind)


RANKINGS = ("base", "variant", "increase", "decrease", "spread")
"""By what contexts are chosen: the column ``ranking``. The last is a random sample of the tokens where the feature fires in
base or variant, and so spreads over the whole range of its activations."""

OBSERVED = "observed"
"""The variant itself, in the column ``control`` of layer_metrics."""

CONTROLS = ("rerun", "isotropic", "rescaled", "shuffled", "mean_shift")
"""What is encoded instead of the variant: the base again; the base plus a random direction of the token's own ||delta||; the
base at the variant's norm; the base plus another token's delta at that length; plus the mean delta (docs/metrics.md)."""

DEFAULT_CONTROLS = CONTROLS[:3]
"""Those of a run that names none."""

TWIN = "twin_"
"""A variant's twins, changes of the weights as large as its own that mean nothing, are ``twin_1``, ``twin_2``, ... in the
column ``control`` (extract/models/twins.py)."""

MOST_TWINS = 16
"""Of one variant."""

GATES = ("fits", "strained", "does not fit")
"""Whether the base's dictionary still describes a variant: the column ``gate`` (store/metrics/feature_numbers.py)."""

VERDICTS = (
    "suppressed", "amplified", "this run only", "as in a random change", "change of norm", "does not fit", "steady",
    "could not be seen",
)  # fmt: skip
"""What can be said of a feature's change: the column ``verdict`` (store/metrics/verdicts.py)."""

CLAIMED = VERDICTS[:2]
"""Those that claim a change."""

SLOTS = ("first", "opening", "answer", "rest")
"""Where a predicted token stands: among the first of a text that answers nothing, the first of an answer, among those that
follow it, elsewhere: the column ``slot``."""

TASK, NEUTRAL = "*task", "*neutral"
"""Domains that a variant was trained for, and those that no variant was, in the column ``domain`` of contributions; no domain
of a corpus is called so."""

CHOSEN_BY = ("contribution", "size", "random", "same norm", "layer")
"""By what the features of a curve are chosen, and its bounds: the column ``chosen_by``."""

HARMFUL = ("harm", "alarm", "toxic", "unsafe", "safety", "jailbreak", "abuse", "violen")


def may_be_harmful(name: str) -> bool:
    """Whether a domain's or task's name says that its texts may be harmful: it contains a word of HARMFUL."""
    return any(word in name.lower() for word in HARMFUL)


VARIANT_NAME = r"[a-z0-9][a-z0-9_-]{0,40}"
"""What a variant may be called: its name stands in paths of the parts and in every page."""
