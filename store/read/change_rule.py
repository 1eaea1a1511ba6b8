"""When a feature counts as changed in a variant: by one of RULES, the strictest that the store allows unless another is named.

- ``verdict``: it is claimed, suppressed or amplified (domain 'all' of a store with twins);
- ``material``: |change| >= share, of a feature that could have been seen (any store and domain; tells nothing from chance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from store.errors import UserError
from store.metrics.thresholds import MATERIAL
from store.names import ALL
from store.read.expressions import is_claimed, is_seen

RULES = {"verdict": None, "material": MATERIAL}
"""How a feature is found to have changed -> the share where none is given; the strictest first."""

RUNS = ("any", "every")
"""A task of several runs changed a feature where any of its runs did, or where every one did."""

IN_LAYER = "domain = $domain AND ($layer::INTEGER IS NULL OR layer = $layer)"

_CALLED = {"verdict": is_claimed(), "material": f"abs(s.change) >= $share::DOUBLE AND {is_seen()}"}


@dataclass(frozen=True)
class ChangeRule:
    """Which changes are meant, and when a feature counts as changed.

    Attributes:
        layer: None for all; features of different layers are different features.
        domain: whose tokens the changes are of; 'all' for every domain together.
        rule: a key of RULES; None for the strictest that the store allows.
        share: of its activation that a feature lost, or newly has, at least; None for the usual one of the rule.
        runs: of a task with several runs, whether any or every one has to have changed a feature; a key of RUNS.

    Raises:
        UserError: no such rule or runs.
    """

    layer: int | None = None
    domain: str = ALL
    rule: str | None = None
    share: float | None = None
    runs: str = "any"

    def __post_init__(self) -> None:
        if self.rule is not None and self.rule not in RULES:
            raise UserError(f"There is no rule '{self.rule}' for a change; choose one of {', '.join(RULES)}.")
        if self.runs not in RUNS:
            raise UserError(f"A task cannot count by '{self.runs}' of its runs; choose one of {', '.join(RUNS)}.")

    def settled(self, allowed: Sequence[str]) -> ChangeRule:
        """The same with the rule and the share to use.

        Args:
            allowed: the rules that the store allows in this domain, the strictest first.

        Raises:
            UserError: the rule is none of them.
        """
        if self.rule is not None and self.rule not in allowed:
            raise UserError(
                f"This store cannot say by '{self.rule}' what changed in domain '{self.domain}'; choose one of "
                f"{', '.join(allowed)}."
            )
        rule = self.rule or allowed[0]
        usual = RULES[rule]
        return replace(self, rule=rule, share=usual if usual is None or self.share is None else float(self.share))

    def place(self) -> dict[str, Any]:
        """The parameters of IN_LAYER."""
        return {"layer": self.layer, "domain": self.domain}

    def called(self) -> tuple[str, dict[str, Any]]:
        """Of a settled rule: a SELECT of what changed where, variant, layer, feature, change, and its parameters."""
        statement = f"""
            SELECT variant, layer, feature, change FROM feature_stats s WHERE {IN_LAYER} AND {_CALLED[self.rule]}
        """
        return statement, self.place() | ({} if self.share is None else {"share": self.share})

    def named(self) -> dict[str, Any]:
        """The columns that say how a change was found: rule, share."""
        return {"rule": self.rule, "share": self.share}
