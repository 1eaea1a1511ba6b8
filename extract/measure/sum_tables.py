"""What a shard's sums hold: each table once, with the type and meaning of its columns, for who writes it and who reads it.

An array is named in its file by layer, model (and control), table and column, for example ``12|maths|features|n11``.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from extract.config import RunConfig, twin_model, twins
from store.format.document_sums import COUNT_SUMS, DOCUMENT_SUMS
from store.metrics.feature_numbers import FEATURE_SUMS
from store.names import BASE, OBSERVED, RANKINGS

SPECTRUM_SHARDS = 16
"""The spectrum is taken over the first shards, a random sample since clusters come in hash order: each of them holds
d_model^2 sums for every layer and variant."""
FEATURE_COUNTS = ("n11", "n10", "n01", "n_documents", "n_clusters", "near")
"""Those of :data:`store.metrics.feature_numbers.FEATURE_SUMS` that are counts."""
OVER_TOKENS = ("n11", "n10", "n01", "a", "b", "a2", "b2", "both_a", "both_b")
"""Those that are sums over tokens, of whatever token."""
OVER_CLUSTERS = ("n_clusters", "cluster_a2", "cluster_b2", "cluster_ab")
"""Those that are sums over clusters."""


def key(*place: object) -> str:
    """The name of an array, from the general to the particular."""
    return "|".join(map(str, place))


@dataclass(frozen=True)
class Column:
    """One array of a table.

    Attributes:
        dtype: numpy's name of it.
        n_axes: 1 where the array has a value for each row of the table.
    """

    name: str
    dtype: str
    meaning: str
    n_axes: int = 1

    def fault(self, values: np.ndarray) -> str | None:
        """What is wrong with an array that should be this column; None where nothing is."""
        if (str(values.dtype), values.ndim) == (self.dtype, self.n_axes):
            return None
        return f"column '{self.name}' is {values.dtype} with {values.ndim} axes, not {self.dtype} with {self.n_axes}"


@dataclass(frozen=True)
class SumTable:
    """Some columns that are written and read together; without a name, arrays that have no rows in common."""

    name: str
    columns: tuple[Column, ...]

    def key(self, column: str, *place: object) -> str:
        """The name of an array in the file; place: layer, and model and control where there are any."""
        return key(*place, self.name, column) if self.name else key(*place, column)

    def arrays(self, values: Mapping[str, np.ndarray], *place: object) -> dict[str, np.ndarray]:
        """Columns [rows], or of their own shape, by their names in the file.

        Raises:
            ValueError: they are not those of the table.
        """
        names = [column.name for column in self.columns]
        if values.keys() != set(names):
            raise ValueError(f"table '{self.name}' has the columns {names}, not {list(values)}")
        if faults := [fault for column in self.columns if (fault := column.fault(values[column.name]))]:
            raise ValueError(f"table '{self.name}': {faults[0]}")
        return {self.key(name, *place): array for name, array in values.items()}


_FEATURE = Column("feature", "int32", "of the layer's dictionary")


def _feature_table(name: str, group: str, sums: Sequence[str] = FEATURE_SUMS) -> SumTable:
    """Sums of each (group, feature) that fired; group: what its number is."""
    columns = (Column(sum_, "int64" if sum_ in FEATURE_COUNTS else "float64", "see FEATURE_SUMS") for sum_ in sums)
    return SumTable(name, (Column("group", "int32", group), _FEATURE, *columns))


LAYER = SumTable(
    "",
    (
        Column("counts", "int64", "tokens that count, [domains x segments]"),
        Column("sinks", "int64", "tokens left out as attention sinks", n_axes=0),
    ),
)
HISTOGRAM = SumTable(
    "histogram",
    (
        _FEATURE,
        Column("bin", "int32", "of the layer's bins of scaled activation"),
        Column("count", "int64", "tokens; never 0"),
    ),
)
"""Of each model."""
PAIRS = SumTable(
    "pairs",
    (
        _FEATURE,
        Column("token_id", "int32", "a token that it fires on"),
        Column("count", "int32", "tokens"),
        Column("activation", "float64", "sum of scaled activation"),
    ),
)
"""Of the base: what labels are made from."""
BACKGROUND = SumTable("background", (Column("token_id", "int32", ""), Column("count", "int64", "tokens that count")))
TOKENS = SumTable(
    "tokens",
    (
        Column("row", "int64", "in the shard, of a token that counts"),
        Column("cosine", "float32", "as in the table token_metrics"),
        Column("overlap", "float32", "the same"),
        Column("l1_divergence", "float32", "the same"),
        Column("l0_base", "int32", "the same"),
        Column("l0_variant", "int32", "the same"),
    ),
)
"""Of each variant."""
FEATURES = _feature_table("features", "domain")
"""Of each variant; sums over clusters are of those that the shard has as a whole, the others stand in :data:`OPEN`."""
SEGMENTS = _feature_table("segments", "segment", OVER_TOKENS)
REPLICA = _feature_table("replica", "0: all domains together", OVER_TOKENS)
TWIN = _feature_table("twin", "0: all domains together", ("n11", "n10", "n01", "a", "b", *OVER_CLUSTERS))
"""Of each twin of a variant, as FEATURES."""
OPEN = SumTable(
    "open",
    (
        Column("group", "int32", "domain; 0 where all of them are together"),
        _FEATURE,
        Column("cluster", "int64", "number in the run of one that another shard has a part of"),
        Column("a", "float64", "sum of the base's scaled activation over its tokens here"),
        Column("b", "float64", "of the other's"),
    ),
)
"""Of each variant and twin: what is added up over shards before it is squared."""
RESCALED = SumTable(
    "rescaled",
    (_FEATURE, Column("total", "float64", "sum of its scaled activation over all tokens that count; never 0")),
)
"""Of each variant: the base's codes at the variant's norm."""
CONTEXTS = {
    ranking: SumTable(
        f"contexts|{ranking}",
        (
            _FEATURE,
            Column("score", "float32", "what the ranking goes by"),
            Column("place", "int64", "row of the peak in the shard"),
            Column("text", "int64", "hash of the text around it"),
        ),
    )
    for ranking in RANKINGS
}
"""Of each variant, by ranking: the best of each feature."""
OUTER = SumTable("", (Column("outer", "float64", "sum of delta delta^T, [d_model, d_model]", n_axes=2),))
"""Of each variant, in the first :data:`SPECTRUM_SHARDS` shards."""
COUNTERPART = SumTable(
    "",
    (
        Column("totals", "float64", "sum of residuals, [domains x segments, d_model]", n_axes=2),
        Column("base_totals", "float64", "of the base's on the same tokens", n_axes=2),
    ),
)
"""Of each counterpart of the base: a variant, or a twin or a control in its place."""
DOCUMENTS = SumTable(
    "documents",
    (
        Column("document", "int64", "within the shard"),
        Column("segment", "int64", "its number"),
        *(Column(name, "int64" if name in COUNT_SUMS else "float64", "see DOCUMENT_SUMS") for name in DOCUMENT_SUMS),
    ),
)
LOGPROB = SumTable("", (Column("logprob", "float64", "of the token that follows, in nats"),))
"""Of each model, in the files of :mod:`extract.measure.token_kl`, for each token of the sample."""
KL = SumTable("", (Column("kl", "float64", "KL(base || variant) of the next-token prediction, in nats"),))
"""Of each variant there."""


def names_in_file(
    config: RunConfig, layers: Sequence[int], replicas: Collection[int], twin_models: Collection[str], shard: int
) -> set[str]:
    """What the arrays of a shard's file are called.

    Args:
        replicas: layers that have one.
        twin_models: :attr:`extract.models.model_set.ModelSet.twins`.
        shard: its number in the run.
    """
    tables = _tables(config, layers, replicas, twin_models, shard)
    return {table.key(column.name, *place) for table, place in tables for column in table.columns}


def _tables(
    config: RunConfig, layers: Sequence[int], replicas: Collection[int], twin_models: Collection[str], shard: int
) -> Iterator[tuple[SumTable, tuple[object, ...]]]:
    """Every table with its place."""
    variants = tuple(config.variants)
    for layer in layers:
        yield LAYER, (layer,)
        yield from ((table, (layer, BASE)) for table in (PAIRS, BACKGROUND))
        yield from ((HISTOGRAM, (layer, model)) for model in (BASE, *variants))
        of_variants = [TOKENS, FEATURES, OPEN, SEGMENTS, *CONTEXTS.values()]
        of_variants += [OUTER] if config.spectrum and shard < SPECTRUM_SHARDS else []
        of_variants += [RESCALED] if "rescaled" in config.controls else []
        of_variants += [REPLICA] if layer in replicas else []
        yield from ((table, (layer, variant)) for variant in variants for table in of_variants)
        yield from ((table, (layer, *pair)) for pair in twins_of(config, twin_models) for table in (TWIN, OPEN))
        counterparts = counterparts_of(config, twin_models)
        yield from ((table, (layer, *pair)) for pair in counterparts for table in (COUNTERPART, DOCUMENTS))


def counterparts_of(config: RunConfig, twin_models: Collection[str]) -> Iterator[tuple[str, str]]:
    """(model, control) of every counterpart of the base in a run; the rerun is the base's, and every variant's alike.

    Args:
        twin_models: :attr:`extract.models.model_set.ModelSet.twins`; a twin stands as a control of its variant.
    """
    for variant in config.variants:
        yield variant, OBSERVED
        yield from ((variant, control) for control in config.controls if control != "rerun")
    yield from twins_of(config, twin_models)
    if "rerun" in config.controls:
        yield BASE, "rerun"


def twins_of(config: RunConfig, twin_models: Collection[str]) -> Iterator[tuple[str, str]]:
    """(variant, twin) of those twins that there are."""
    pairs = ((variant, twin) for variant in config.variants for twin in twins(config))
    yield from (pair for pair in pairs if twin_model(*pair) in twin_models)
