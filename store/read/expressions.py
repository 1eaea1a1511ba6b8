"""SQL expressions that several questions share. They call tables as the questions do: s is feature_stats, f is features, t is
tokens (or anything with a token_id), v is vocabulary."""

from store.metrics.thresholds import DENSE, SEEN_CLUSTERS, SEEN_FIRINGS
from store.names import CLAIMED, VERDICTS

NOT_SEEN = VERDICTS[-1]


def is_claimed(stats: str = "s") -> str:
    """SQL for whether a change is claimed; false without a verdict. stats: the alias of the row of all domains together."""
    return f"coalesce({stats}.verdict IN {CLAIMED}, false)"


def claim_its_way(stats: str = "s") -> str:
    """SQL for the verdict that claims a change the way a feature moved, whether it has that verdict or not; stats: as above."""
    return f"CASE WHEN {stats}.shift < 0 THEN '{CLAIMED[0]}' ELSE '{CLAIMED[1]}' END"


def is_seen(stats: str = "s") -> str:
    """SQL for whether a material change could have been seen: as its verdict says, else by firings and clusters."""
    often = f"greatest({stats}.n11 + {stats}.n10, {stats}.n11 + {stats}.n01) >= {SEEN_FIRINGS}"
    return f"coalesce({stats}.verdict <> '{NOT_SEEN}', {often} AND {stats}.n_clusters >= {SEEN_CLUSTERS})"


def is_dense(stats: str = "s") -> str:
    """SQL for whether a feature fires on more than DENSE of the tokens of all domains together, in base or variant."""
    return f"greatest({stats}.n11 + {stats}.n10, {stats}.n11 + {stats}.n01) > {DENSE} * {stats}.n_tokens"


READABLE = "coalesce(f.label_source <> 'automatic' OR (contains(f.label, '“') AND NOT contains(f.label, '(fires on')), false)"
"""Whether a label names something: one that somebody gave, or an automatic one that quotes tokens, and not as an example of
many (extract/tables/labels.py)."""

TOKEN_TEXT = "coalesce(v.token, '⟨' || t.token_id || '⟩')"
"""A token's text by itself; its number where the vocabulary lacks it. Needs WITH_TEXTS."""

WITH_TEXTS = "LEFT JOIN vocabulary v ON v.token_id = t.token_id"
