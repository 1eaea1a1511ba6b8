"""Sums over clusters of documents, ratios of them and functions of those, each with what every cluster adds to its error.

For R = sum x_c / sum y_c, leaving cluster c out changes R by -r_c, r_c = (x_c - R y_c) / (sum y - y_c): its *influence*. A
function of R has R's influence times its derivative at R. Definitions: docs/metrics.md, "Intervals". Pure numpy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sum:
    """A sum over clusters.

    Attributes:
        total: the whole.
        parts: float64 [clusters], what each cluster adds; [0] where only the whole is known.
    """

    total: float
    parts: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A number and what each cluster adds to its error.

    Attributes:
        value: NaN where it is undefined.
        influence: float64 [clusters], minus the change that leaving the cluster out makes; [0] where only wholes are known.
    """

    value: float
    influence: np.ndarray

    def __rsub__(self, constant: float) -> "Estimate":
        return self._through(constant - self.value, -1.0)

    def sqrt(self) -> "Estimate":
        """Its square root; of 0 for certain, 0 for certain."""
        root = np.sqrt(self.value)
        return self._through(root, 0.5 / root if self.value else 0.0)

    def rsqrt(self, numerator: float) -> "Estimate":
        """numerator / sqrt of it; NaN where it is not positive."""
        root = np.sqrt(self.value) if self.value > 0 else np.nan
        return self._through(numerator / root, -numerator / (2 * root**3))

    def _through(self, value: float, slope: float) -> "Estimate":
        """A smooth function of this one, by its value and derivative here."""
        return Estimate(float(value), slope * self.influence)


def ratio(x: Sum, y: Sum) -> Estimate:
    """sum x / sum y; NaN where sum y is not positive.

    Its influence [clusters] is not finite where one cluster holds all of y.
    """
    if not y.total > 0:
        return Estimate(float("nan"), np.full(len(x.parts), np.nan))
    value = x.total / y.total
    return Estimate(value, (x.parts - value * y.parts) / (y.total - y.parts))


@dataclass(frozen=True)
class GroupSums:
    """The additive sums of one group of tokens.

    Attributes:
        sums: a sum for each column of the table document_sums.
        total_norm2: of 'base' and 'variant', ||sum_t h||^2 over the group's tokens.
        mean_norm: ||mu||, the norm of the base's mean residual in the pilot.
    """

    sums: Mapping[str, Sum]
    total_norm2: Mapping[str, float]
    mean_norm: float

    @classmethod
    def of_clusters(
        cls, clusters: Mapping[str, np.ndarray], base_total_norm2: float, variant_total_norm2: float, mean_norm: float
    ) -> "GroupSums":
        """Of arrays, float64 [clusters]."""
        sums = {name: Sum(float(parts.sum()), parts) for name, parts in clusters.items()}
        return cls(sums, {"base": base_total_norm2, "variant": variant_total_norm2}, mean_norm)

    @classmethod
    def of_totals(
        cls, totals: Mapping[str, float], base_total_norm2: float, variant_total_norm2: float, mean_norm: float
    ) -> "GroupSums":
        """Of numbers that are summed over clusters already."""
        sums = {name: Sum(float(total), np.zeros(0)) for name, total in totals.items()}
        return cls(sums, {"base": base_total_norm2, "variant": variant_total_norm2}, mean_norm)

    def ratio(self, numerator: str, denominator: str = "n_tokens") -> Estimate:
        """Of two of the sums; of one alone its mean over tokens."""
        return ratio(self.sums[numerator], self.sums[denominator])

    def fvu(self, model: str) -> Estimate:
        """sum ||h - dec||^2 / sum ||h - mean(h)||^2 of 'base' or 'variant'; NaN where the tokens differ by rounding only."""
        return ratio(self.sums[f"{model}_error2"], self._about_mean(model))

    def _about_mean(self, model: str) -> Sum:
        """sum ||h - mean(h)||^2, mean(h) the group's; 0 where that is float64 rounding.

        Each cluster's part is known about the pilot's mean mu. The group's mean m lies off it: sum ||h - mu||^2 is larger by
        N ||m - mu||^2, which is taken off in proportion to the tokens.
        """
        norm2, n = self.sums[f"{model}_norm2"], self.sums["n_tokens"]
        variance = norm2.total - self.total_norm2[model] / n.total if n.total > 0 else 0.0
        if not variance > 1e-12 * norm2.total:
            return Sum(0.0, np.zeros(len(n.parts)))
        if not len(n.parts):
            return Sum(variance, n.parts)
        centred2 = self.sums[f"{model}_centred2"]
        parts = centred2.parts - n.parts * (centred2.total - variance) / n.total
        return Sum(float(parts.sum()), parts)
