"""Which features a list shows, and in what order: one :class:`Filter`, which a list, its count and the way through it share.

The only text put into a statement is a condition or a sort expression from this file; values travel as parameters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from store.errors import UserError
from store.metrics.feature_columns import COLUMNS
from store.names import ALL, CLAIMED, KINDS, VERDICTS
from store.read.expressions import READABLE, claim_its_way, is_claimed, is_dense, is_seen
from store.token_text import spellings

CONTRIBUTED = {name: column for name, column in COLUMNS.items() if column.of_contributions}
"""The numbers that only a store with contributions has."""

WITHOUT_BYTES = "regexp_replace(f.label, '<0x[0-9a-f]{2}>', '', 'g')"
"""A label less its byte marks (store/token_text.py, in lower case there), whose figures are no letters."""

TELLING_DENSITY, TELLING_TEMPLATE = 0.05, 0.3


def telling(evidence: str) -> str:
    """SQL for whether a reader can tell at once what the change has to do with the variant.

    The label is READABLE and quotes a word, the feature fires on few tokens, it moved more on the variant's task than on all
    text, and hardly on the chat template's tokens.

    Args:
        evidence: as of :func:`sort_expressions`.
    """
    return f"""(
        {READABLE} AND (f.label_source <> 'automatic' OR regexp_matches({WITHOUT_BYTES}, '“[^”]*\\p{{L}}{{3}}'))
        AND coalesce(f.density <= {TELLING_DENSITY}, true)
        AND coalesce({evidence}.did_shift / nullif({evidence}.shift, 0) >= 1, true)
        AND coalesce((
            SELECT t.share <= {TELLING_TEMPLATE} FROM feature_segments t
            WHERE t.variant = s.variant AND t.layer = s.layer AND t.feature = s.feature AND t.segment = 'template'), true)
    )"""


def number_expressions(evidence: str, contributions: bool = True) -> dict[str, str]:
    """Each number of a feature -> its SQL.

    Args:
        evidence: as of :func:`sort_expressions`.
        contributions: whether there are any; without them their numbers are null.
    """
    of_contributions = {name: f"c.{column.of_contributions}::DOUBLE" for name, column in CONTRIBUTED.items()}
    others = {name: f"{evidence if column.is_pooled else 's'}.{name}" for name, column in COLUMNS.items()}
    return others | (of_contributions if contributions else dict.fromkeys(CONTRIBUTED, "NULL::DOUBLE"))


def sort_expressions(evidence: str) -> dict[str, str]:
    """What lists can be sorted by -> its SQL.

    Args:
        evidence: the alias of the row of all domains together, where verdict and the like stand.
    """
    claimed, size = is_claimed(evidence), "coalesce(abs(s.change), 0)"
    return {
        "evidence": f"row({claimed}, {is_seen(evidence)}, {size})",
        "striking": f"row({claimed}, {telling(evidence)}, {READABLE}, {size})",
        **number_expressions(evidence),
        "contribution": "abs(c.gain)",
        "contribution_kl": "abs(c.kl)",
        "focus_kl": f"row(coalesce(focus.kl, 0), coalesce(abs(c.kl), 0), {size})",
        "focus_change": f"row(coalesce(CASE WHEN s.shift < 0 THEN -focus.lowest ELSE focus.highest END, -1), {size})",
        "change": "abs(s.change)",
        "loss": "s.loss",
        "gain": "s.gain",
        "q_twin": f"-{evidence}.q_twin",
        "q_replicates": f"-{evidence}.q_replicates",
        "detectable_loss": f"-{evidence}.detectable_loss",
        "verdict": f"{evidence}.verdict",
        "abs_shift": "abs(s.shift)",
        "std_shift": "abs(s.std_shift)",
        "log_ratio": "abs(s.log_ratio)",
        "magnitude_ratio": "s.magnitude_ratio",
        "kind": "s.kind",
        "label": "f.label",
        "feature": "s.feature",
        "layer": "s.layer",
    }


SORTS = tuple(sort_expressions("s"))
SORTS_BY_LABEL = ("striking", "label")
"""Those of SORTS that read the table features."""
SORTS_BY_CONTRIBUTION = (*CONTRIBUTED, "focus_kl")
FOCUSED = {  # a sort by what the domains in focus say -> the table focus that it reads
    "focus_kl": """
        SELECT layer, feature, max(abs(kl)) AS kl FROM contributions.features
        WHERE variant = $variant AND list_contains($focus::VARCHAR[], domain) GROUP BY layer, feature
    """,
    "focus_change": f"""
        SELECT layer, feature, min(change) AS lowest, max(change) AS highest FROM feature_stats d
        WHERE variant = $variant AND list_contains($focus::VARCHAR[], domain) AND {is_seen("d")} GROUP BY layer, feature
    """,
}
DIRECTIONS = {"down": "s.shift < 0", "up": "s.shift > 0"}
FALLEN, RISEN = KINDS[:2], KINDS[3:]
"""The kinds that lost a material share of their activation, and those of whose activation a material share is new."""
CALLED_SUPPRESSED = CLAIMED[:1]
"""The verdicts of what the list of suppressed features shows unless others are named."""

TOP_TOKENS = 3
"""Of the output tokens that a feature promotes, those that a search finds it by."""

_POOLED = (
    "LEFT JOIN feature_stats p ON p.variant = s.variant AND p.layer = s.layer AND p.feature = s.feature AND p.domain = 'all'"
)
_LABELS = "LEFT JOIN features f ON f.layer = s.layer AND f.feature = s.feature"
_CONTRIBUTIONS = (
    "LEFT JOIN contributions.features c "
    "ON c.variant = s.variant AND c.layer = s.layer AND c.feature = s.feature AND c.domain = s.domain"
)
_NAMED = re.compile(r"[Ll]?(\d{1,4}):(\d{1,9})")


@dataclass(frozen=True)
class Filter:
    """Which features a list shows, and in what order.

    Attributes:
        variant: of the store's variants.
        layer: None for all.
        domain: whose tokens the numbers are of; 'all' for every domain together.
        kinds: any of KINDS; None for all.
        verdicts: any of VERDICTS, which are of all domains together; None for all, and for features without a verdict.
        min_firings: tokens where it fires in base or variant, at least.
        search: a feature's number, 'layer:feature' ('L12:431' too), part of a label, or one of the TOP_TOKENS output tokens
            that it promotes most (whatever its case and the spaces around it).
        direction: 'down' (shift < 0), 'up' (shift > 0), or None.
        sort: one of SORTS; missing values come last, ties by layer and feature. 'evidence' is the claimed changes, then those
            that could have been seen, then the others, each by |change|; 'striking' is the claimed ones, of these first those
            that are :func:`telling`, then those whose label is READABLE, each by |change|; 'q_twin', 'q_replicates' and
            'detectable_loss' have the smallest as their highest.
        descending: whether the highest comes first.
        contributions: whether the store has any; only then lists can be sorted by them.
        dense: whether those are listed too that fire on more than DENSE of all tokens, in base or variant; one whose layer and
            number are searched for is listed anyway.
        focus: domains that matter most to the reader. 'focus_kl' is by the largest |KL| that the change makes in any of them,
            then by that in the list's domain; 'focus_change' by the change the way it moved, where most, of those seen there.
        not_in: variants; what any of them is claimed to have changed the same way is left out.
        picked: (layer, feature) of the only features that are listed; None for all.

    Raises:
        UserError: no such kind, verdict, direction or sort.
    """

    variant: str
    layer: int | None = None
    domain: str = ALL
    kinds: tuple[str, ...] | None = None
    verdicts: tuple[str, ...] | None = None
    min_firings: int = 0
    search: str | None = None
    direction: str | None = None
    sort: str = "evidence"
    descending: bool = True
    dense: bool = False
    contributions: bool = False
    focus: tuple[str, ...] = ()
    not_in: tuple[str, ...] = ()
    picked: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        for name, noun, options in (("kinds", "kind of change", KINDS), ("verdicts", "verdict", VERDICTS)):
            given = getattr(self, name)
            if given is None:
                continue
            given = (given,) if isinstance(given, str) else tuple(given)
            object.__setattr__(self, name, given)
            for one in given:
                if one not in options:
                    raise UserError(f"There is no {noun} '{one}'; choose from {', '.join(options)}.")
        if self.direction is not None and self.direction not in DIRECTIONS:
            raise UserError(f"Features do not move '{self.direction}'; choose one of {', '.join(DIRECTIONS)}, or None.")
        if self.sort not in SORTS:
            raise UserError(f"Features cannot be sorted by '{self.sort}'; choose one of {', '.join(SORTS)}.")
        if self.sort in SORTS_BY_CONTRIBUTION and not self.contributions:
            raise UserError(f"Features cannot be sorted by '{self.sort}': this store has no contributions beside it.")

    @classmethod
    def suppressed(cls, variant: str, has_verdicts: bool, **filters: Any) -> Filter:
        """The list of suppressed features: those that fell (shift < 0) and are called so, in :func:`usual_sort`.

        Args:
            has_verdicts: whether the variant has verdicts; of one without twins all that fell, of the kinds FALLEN.
            filters: other fields but direction, which go before; verdicts=None gives every feature that fell.
        """
        fell = {"verdicts": CALLED_SUPPRESSED} if has_verdicts else {"kinds": FALLEN}
        return cls(variant, **({"sort": usual_sort(**filters)} | fell | filters), direction="down")

    @classmethod
    def claimed(cls, variant: str, has_verdicts: bool, **filters: Any) -> Filter:
        """The list of claimed changes, either way, as :meth:`suppressed`."""
        changed = {"verdicts": CLAIMED} if has_verdicts else {"kinds": FALLEN + RISEN}
        return cls(variant, **({"sort": usual_sort(**filters)} | changed | filters))

    @property
    def evidence(self) -> str:
        """The alias of the evidence, which is of all domains together: there the row is its own."""
        return "s" if self.domain == ALL else "p"

    @property
    def hides_dense(self) -> bool:
        """Whether dense features are left out."""
        return not self.dense and self._named() is None

    def tables(self, labelled: bool = False) -> str:
        """What a list is made from: feature_stats s, the numbers of its domain; the row :attr:`evidence`; features f.

        In a store of millions of rows a join takes most of the time, so each is left out where it is not needed.

        Args:
            labelled: whether f is needed even where neither the condition nor the order reads it.
        """
        contributed = self.contributions and (labelled or self.sort in SORTS_BY_CONTRIBUTION)
        labelled = labelled or self.sort in SORTS_BY_LABEL or bool(self._text() and not self._named())
        joined = [_POOLED] * (self.evidence == "p") + [_LABELS] * labelled + [_CONTRIBUTIONS] * contributed
        if self.sort in FOCUSED:
            joined.append(f"LEFT JOIN ({FOCUSED[self.sort]}) focus ON focus.layer = s.layer AND focus.feature = s.feature")
        return f"feature_stats s {' '.join(joined)}"

    def where(self) -> tuple[str, dict[str, Any]]:
        """The condition on the tables, and its parameters."""
        found = ["s.variant = $variant", "s.domain = $domain"]
        values: dict[str, Any] = {"variant": self.variant, "domain": self.domain}
        if self.layer is not None:
            found.append("s.layer = $layer")
            values["layer"] = int(self.layer)
        if self.kinds is not None:
            found.append("list_contains($kinds::VARCHAR[], s.kind)")
            values["kinds"] = list(self.kinds)
        if self.verdicts is not None:
            found.append(f"list_contains($verdicts::VARCHAR[], {self.evidence}.verdict)")
            values["verdicts"] = list(self.verdicts)
        if self.hides_dense:
            found.append(f"NOT {is_dense(self.evidence)}")
        if self.min_firings > 0:
            found.append("s.n11 + s.n10 + s.n01 >= $min_firings")
            values["min_firings"] = int(self.min_firings)
        if self.direction is not None:
            found.append(DIRECTIONS[self.direction])
        if self.sort in FOCUSED:
            values["focus"] = list(self.focus)  # which the tables read
        if self.not_in:
            found.append(
                f"NOT EXISTS (FROM feature_stats o WHERE list_contains($not_in::VARCHAR[], o.variant) AND o.domain = 'all' "
                f"AND o.layer = s.layer AND o.feature = s.feature AND o.verdict = {claim_its_way(self.evidence)})"
            )
            values["not_in"] = list(self.not_in)
        if self.picked is not None:
            found.append("(s.layer, s.feature) IN (SELECT unnest($layers::INTEGER[]), unnest($features::INTEGER[]))")
            values |= {name: [key[at] for key in self.picked] for at, name in enumerate(("layers", "features"))}
        if named := self._named():
            found.append("s.layer = $named_layer AND s.feature = $named_feature")
            values |= {"named_layer": int(named[1]), "named_feature": int(named[2])}
        elif text := self._text():
            found.append(
                "(s.feature = try_cast($text AS INTEGER) OR contains(lower(f.label), lower($composed)) "
                f"OR contains(lower(f.label), lower($decomposed)) OR list_has_any(f.promoted[1:{TOP_TOKENS}], "
                "(SELECT list(token_id) FROM vocabulary WHERE lower(trim(token)) IN (lower($composed), lower($decomposed)))))"
            )
            values |= {"text": text} | dict(zip(("composed", "decomposed"), spellings(text), strict=True))
        return " AND ".join(found), values

    def order(self) -> str:
        """The ORDER BY: the chosen column, then layer and feature, so that pages never overlap."""
        direction = "DESC" if self.descending else "ASC"
        return f"{sort_expressions(self.evidence)[self.sort]} {direction} NULLS LAST, s.layer, s.feature"

    def _text(self) -> str:
        return (self.search or "").strip()

    def _named(self) -> re.Match[str] | None:
        """The layer and feature that are looked for, where the text names both."""
        return _NAMED.fullmatch(self._text())


def usual_sort(contributions: bool = False, focus: Sequence[str] = (), **_filters: Any) -> str:
    """What falls and claims are sorted by where nobody says: what moves the prediction most, in the domains in focus if any."""
    return ("focus_kl" if focus else "contribution_kl") if contributions else "evidence"
