"""When a feature counts as changed in a variant: by one of RULES, the strictest that the store allows unless another is named.

- ``verdict``: its verdict is suppressed or amplified (domain 'all' of a store with the isotropic control);
- ``floor``: |shift| > multiple x floor, the 99th percentile under noise of that size (any domain of such a store);
- ``rms``: |shift| > multiple x the root mean square shift of the variant's layer and domain (any store; tests nothing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from store.errors import UserError
from store.names import ALL, SUPPORTED

RULES = {"verdict": None, "floor": 1.0, "rms": 3.0}
"""How a feature is found to have changed -> the multiple where none is given; the strictest first."""

RUNS = ("any", "every")
"""A task of several runs changed a feature where any of its runs did, or where every one did."""

IN_LAYER = "domain = $domain AND ($layer::INTEGER IS NULL OR layer = $layer)"

_CALLED = {
    "verdict": f"verdict IN {SUPPORTED}",
    "floor": "abs(shift) > $multiple::DOUBLE * floor",
    "rms": "abs(shift) > $multiple::DOUBLE * size",
}
_SIZES = f"""JOIN (
    SELECT variant, layer, sqrt(avg(shift * shift)) AS size FROM feature_stats WHERE {IN_LAYER} GROUP BY variant, layer
) USING (variant, layer)"""


@dataclass(frozen=True)
class ChangeRule:
    """Which changes are meant, and when a feature counts as changed.

    Attributes:
        layer: None for all; features of different layers are different features.
        domain: whose tokens the shifts are of; 'all' for every domain together.
        rule: a key of RULES; None for the strictest that the store allows.
        multiple: of the floor or of the root mean square; None for the rule's usual one.
        runs: of a task with several runs, whether any or every one has to have changed a feature; a key of RUNS.

    Raises:
        UserError: no such rule or runs.
    """

    layer: int | None = None
    domain: str = ALL
    rule: str | None = None
    multiple: float | None = None
    runs: str = "any"

    def __post_init__(self) -> None:
        if self.rule is not None and self.rule not in RULES:
            raise UserError(f"There is no rule '{self.rule}' for a change; choose one of {', '.join(RULES)}.")
        if self.runs not in RUNS:
            raise UserError(f"A task cannot count by '{self.runs}' of its runs; choose one of {', '.join(RUNS)}.")

    def settled(self, allowed: Sequence[str]) -> ChangeRule:
        """The same with the rule and the multiple to use.

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
        return replace(self, rule=rule, multiple=usual if usual is None or self.multiple is None else float(self.multiple))

    def place(self) -> dict[str, Any]:
        """The parameters of IN_LAYER."""
        return {"layer": self.layer, "domain": self.domain}

    def called(self) -> tuple[str, dict[str, Any]]:
        """Of a settled rule: a SELECT of what changed where, variant, layer, feature, shift, and its parameters."""
        statement = f"""
            SELECT variant, layer, feature, shift FROM feature_stats {_SIZES if self.rule == "rms" else ""}
            WHERE {IN_LAYER} AND {_CALLED[self.rule]}
        """
        return statement, self.place() | ({} if self.multiple is None else {"multiple": self.multiple})

    def named(self) -> dict[str, Any]:
        """The columns that say how a change was found: rule, multiple."""
        return {"rule": self.rule, "multiple": self.multiple}
