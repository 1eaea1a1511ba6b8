"""A causal check of one feature: what it found, and the same in words. Definitions: docs/metrics.md, "The causal check"."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from store.numbers import counted, significant
from store.value_types import Index, Number, Whole, Word

RESTORE, ABLATE = "restore", "ablate"
MIN_CONTEXTS = 8
"""With fewer contexts there is no interval."""


@dataclass(frozen=True)
class Steering:
    """What an intervention along a feature's decoder direction does to the variant's next-token prediction.

    Attributes:
        mode: 'restore' adds what the variant lacks of the feature, 'ablate' takes away what it has more of.
        n_positions: tokens whose next-token prediction was compared, all contexts together.
        kl_before, kl_after: KL(base || variant) in nats, mean over contexts, without and with the intervention.
        low, high: 95 % interval over contexts of kl_after - kl_before; None where there are fewer than MIN_CONTEXTS.
        controls: feature -> kl_after where the same amounts go along that feature's direction; at least one.
        seed: of the draw of the controls.
    """

    layer: Index
    feature: Index
    variant: Word
    mode: Word
    n_contexts: Index
    n_positions: Index
    kl_before: Number
    kl_after: Number
    low: Number | None
    high: Number | None
    controls: Mapping[int, Number]
    seed: Whole

    @property
    def change(self) -> float:
        """kl_after - kl_before: negative where the intervention brings the variant nearer to the base."""
        return self.kl_after - self.kl_before

    @property
    def rank(self) -> int:
        """Place of the feature among itself and the controls, the lowest kl_after first; it loses a tie."""
        return 1 + sum(kl <= self.kl_after for kl in self.controls.values())


def in_words(result: Steering) -> str:
    """What was done and what came of it, in plain text; says no more than was measured."""
    done = {
        RESTORE: "giving the variant back what it lacks of this feature",
        ABLATE: "taking from the variant what it has more of this feature",
    }[result.mode]
    change, moved = result.change, partial(significant, signed=True)
    side = "nearer to the base" if change < 0 else "farther from the base" if change > 0 else "no nearer to the base"
    interval = (
        f"too few contexts for an interval, which takes {MIN_CONTEXTS}"
        if result.low is None
        else f"95 % interval {moved(result.low)} to {moved(result.high)}"
    )
    others = [kl - result.kl_before for kl in result.controls.values()]
    return (
        f"In {counted(result.n_contexts, 'context')} ({counted(result.n_positions, 'position')}), {done} moves the KL "
        f"divergence of the next token, base against variant, from {significant(result.kl_before)} to "
        f"{significant(result.kl_after)} nats: {moved(change)} ({interval}), {side}. "
        f"The same amounts along {counted(len(others), 'random feature')} of like frequency: {moved(min(others))} to "
        f"{moved(max(others))}; this feature ranks {result.rank} of {len(others) + 1}, nearest to the base first. "
        "This is causal for these contexts and this direction only."
    )
