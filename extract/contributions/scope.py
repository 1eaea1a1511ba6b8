"""How much the pass over contributions will measure, worked out before any model is loaded; needs no torch."""

from dataclasses import asdict, dataclass

from extract.config import A_PASSAGE, READ, RunConfig
from extract.contributions.quadrature import POINTS
from store.errors import UserError
from store.numbers import listed
from store.read.store import Store


@dataclass(frozen=True)
class Scope:
    """How much is measured.

    Attributes:
        predictions: predicted tokens whose change is taken apart.
        a_passage: of one context window at most.
        points: of the way from variant to base that are taken first.
        twins: of the first run of each recipe that are measured too.
    """

    predictions: int
    a_passage: int
    points: int
    twins: int

    @property
    def read(self) -> int:
        """Predicted tokens whose likelihood alone is read."""
        return READ * self.predictions

    def facts(self) -> dict[str, str]:
        """By name, for the table about."""
        return {name: str(value) for name, value in asdict(self).items()}


def make_scope(
    store: Store, config: RunConfig, predictions: int | None = None, a_passage: int = A_PASSAGE, points: int = POINTS[0],
    twins: int = 1,
) -> Scope:  # fmt: skip
    """Scope contributions for a finished store.

    Args:
        config: the configuration that made the store.
        predictions: None for the configuration's number, where it gives one, else for what takes about as long as the shards.
        twins: at most; a store with fewer gives those.

    Raises:
        UserError: a number is out of range, or the configuration lacks a variant of the store.
    """
    for name, value, least in (("passage", a_passage, 1), ("twins", twins, 0)):
        if value < least:
            raise UserError(f"--{name} is {value}; give {least} or more.")
    if points not in POINTS:
        raise UserError(f"--points is {points}; give one of {listed(map(str, POINTS))}.")
    if predictions is not None and predictions < 1:
        raise UserError(f"--predictions is {predictions}; give 1 or more.")
    for name in store.variants:
        config.require(name)
    n_tokens = int(sum(store.sql("SELECT n_tokens FROM documents")["n_tokens"]))
    twins = min(twins, store.manifest.settings.get("twins", 0))
    return Scope(predictions or config.predictions(n_tokens), a_passage, points, twins)
