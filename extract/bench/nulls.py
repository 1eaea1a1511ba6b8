"""Known nulls on the demo's base: variants that mean nothing, read beside two real runs of one recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from extract.bench.bench_store import bench_store
from extract.bench.null_models import NullModels, size_rows, train_adapters
from extract.bench.page import Row
from extract.config import RunConfig, groups, load_config
from extract.config_sections import PlantedEdit, VariantConfig
from extract.demo import DEMO_CONFIG
from extract.demo.training.fine_tuning import ADAPTERS
from store.names import ALL, CLAIMED, OBSERVED, TWIN, VERDICTS
from store.numbers import percent
from store.read.store import Store
from store.reports.summaries import sentences, verdicts_by_layer

THIS_RUN_ONLY = VERDICTS[2]
REAL = ("safety", "safety-seed2")
TWINS, MINUS = ("fresh-twin", "fresh-twin-2"), "minus"
PLANTED = {
    "times-0-95": {"rescale": True, "strength": 0.95},
    "times-1-05": {"rescale": True, "strength": 1.05},
    "rotated": {"rotate": True, "strength": 0.2},
}
CHECKPOINT_PAIRS = (("noise", "int4"), ("int8", "bf16"), ("gain", "times-0-95"))
"""Nulls that are declared to be two runs of one recipe, beside the twins."""
NO_CLAIM = CHECKPOINT_PAIRS[1:]
"""Those of which no feature may be claimed."""
MOST_OF_REAL = 0.1
"""Claims of all pairs of nulls together, as a share of the real pair's."""
TOKENS, QUICK_TOKENS = 12_000, 3_000
LAYERS, PLANTED_LAYER = (9, 15), 9
COUNTS = ("n_seen", "n_halved", "n_doubled")


@dataclass(frozen=True)
class Found:
    """What a store says of one variant.

    Attributes:
        first: the variant whose replicate it is, or itself.
        sizes: layer -> relative shift.
        counts: layer -> n_seen, n_halved, n_doubled -> of the variant, and of each twin.
        verdicts: layer -> verdict -> features.
        sentence: what it amounts to.
    """

    first: str
    n_runs: int
    sizes: Mapping[int, float]
    counts: Mapping[int, Mapping[str, list[int]]]
    verdicts: Mapping[int, Mapping[str, int]]
    sentence: str

    def claims(self, layer: int) -> int:
        """Features claimed at a layer."""
        return sum(self.verdicts[layer].get(verdict, 0) for verdict in CLAIMED)


def known_nulls(quick: bool, tokens: int | None = None) -> list[Row]:
    """Nulls of the demo's base beside the runs of the recipe ``safety``; ``quick`` trains none and reads fewer tokens."""
    config = load_config(DEMO_CONFIG)
    saes = [sae for sae in config.saes if int(sae.name.removeprefix("layer_")) in LAYERS]
    tokens = tokens or (QUICK_TOKENS if quick else TOKENS)
    changes = {"tokens": tokens, "saes": saes, "context_length": 96, "document_tokens": 95}
    real = {name: str(ADAPTERS / name) for name in REAL}
    return null_rows(config.model_copy(update=changes), real, PLANTED_LAYER, trains=not quick)


def null_rows(config: RunConfig, real: Mapping[str, str], layer: int, trains: bool) -> list[Row]:
    """The rows of a configuration's base.

    Args:
        real: the two runs of one recipe -> folder of the adapter.
        layer: where planted nulls are made.
        trains: whether answers dealt to other prompts and text read on are trained too: for the demo's base only.
    """
    with TemporaryDirectory() as folder:
        models = NullModels(config, next(iter(real.values())), Path(folder))
        models.write_adapters(TWINS, MINUS)
        places = {name: models.place(name) for name in (*TWINS, MINUS)}
        trained = train_adapters(config.base, Path(folder)) if trains else {}
        variants = _pair(*({name: VariantConfig(adapter=place)} for name, place in real.items()))
        variants |= _pair(*({name: VariantConfig(adapter=places[name])} for name in TWINS))
        variants |= {name: VariantConfig(adapter=place) for name, place in ({MINUS: places[MINUS]} | trained).items()}
        variants |= {name: _planted(name, layer) for name in PLANTED if name != CHECKPOINT_PAIRS[-1][-1]}
        found = _read(config, variants)
        for pair in CHECKPOINT_PAIRS:
            written = [name for name in pair if name not in PLANTED]
            of_pair = {name: VariantConfig(model=models.write_checkpoint(name)) for name in written}
            of_pair |= {name: _planted(name, layer) for name in pair if name in PLANTED}
            found |= _read(config, _pair(*({name: of_pair[name]} for name in pair)))
            for name in written:
                models.remove(name)
        sizes = size_rows(models.sizes)
    return [*judged_rows(found, tuple(real)), *sizes, *(row for name, of in found.items() for row in told_rows(name, of))]


def judged_rows(found: Mapping[str, Found], real: tuple[str, ...]) -> list[Row]:
    """What is asked of them.

    Args:
        real: the variants that are no nulls.
    """
    rows = []
    pairs = {name: of for name, of in found.items() if of.n_runs > 1 and of.first == name and name not in real}
    for layer in found[real[0]].sizes:
        claims = found[real[0]].claims(layer)
        rows.append(Row(f"L{layer}: features claimed of {' + '.join(real)}", claims, "", None))
        of_nulls = {name: null.claims(layer) for name, null in pairs.items()}
        for name, n in of_nulls.items():
            pair = " + ".join(member for member, of in found.items() if of.first == name)
            must_not = name in [first for first, _ in NO_CLAIM]
            rows.append(Row(f"L{layer}: features claimed of {pair}", n, "0" if must_not else "", n == 0 if must_not else None))
        total, most = sum(of_nulls.values()), MOST_OF_REAL * claims
        target = f"at most {percent(MOST_OF_REAL)} of the real pair's"
        rows.append(Row(f"L{layer}: features claimed of all {len(pairs)} pairs of nulls", total, target, total <= most))
    alone = [of for of in found.values() if of.n_runs == 1]
    claims = sum(of.claims(layer) for of in alone for layer in of.sizes)
    rows.append(Row(f"features claimed of the {len(alone)} that have no second run", claims, "0", claims == 0))
    return rows


def told_rows(name: str, found: Found) -> list[Row]:
    """How much one changed, beside its twins, and its sentence."""
    rows = []
    for layer, size in found.sizes.items():
        counts = {metric: _beside(values) for metric, values in found.counts[layer].items() if metric != "n_seen"}
        value = (
            f"shift {percent(size)}; of {found.counts[layer]['n_seen'][0]:,} features halved {counts['n_halved']}, doubled "
            f"{counts['n_doubled']}; {found.verdicts[layer].get(THIS_RUN_ONLY, 0)} '{THIS_RUN_ONLY}', "
            f"{found.claims(layer)} claimed"
        )
        rows.append(Row(f"{name}, L{layer}", value, "", None))
    return [*rows, Row(f"{name}, in words", found.sentence, "", None)]


def _beside(values: list[int]) -> str:
    own, *of_twins = values
    return f"{own} (twins {', '.join(map(str, of_twins))})"


def _planted(name: str, layer: int) -> VariantConfig:
    return VariantConfig(planted=PlantedEdit(layer=layer, feature=0, **PLANTED[name]))


def _pair(first: Mapping[str, VariantConfig], second: Mapping[str, VariantConfig]) -> dict[str, VariantConfig]:
    """Two variants that are declared to be runs of one recipe."""
    (name,) = first
    return {**first, **{other: variant.model_copy(update={"replicate_of": name}) for other, variant in second.items()}}


def _read(config: RunConfig, variants: Mapping[str, VariantConfig]) -> dict[str, Found]:
    """What the store of a run says of each of its variants."""
    of_run = groups(config.model_copy(update={"variants": dict(variants)}))
    with bench_store(config, variants) as store:
        verdicts, said = verdicts_by_layer(store), sentences(store)
        return {
            name: Found(first, len(names), *_numbers(store, name), verdicts[name], said[name])
            for first, names in of_run.items()
            for name in names
        }


def _numbers(store: Store, variant: str) -> tuple[dict[int, float], dict[int, dict[str, list[int]]]]:
    """The fields ``sizes`` and ``counts`` of a variant."""
    rows = store.layer_metrics(variant=variant, domain=ALL, segment=ALL)
    sides = rows[(rows["control"] == OBSERVED) | rows["control"].str.startswith(TWIN)].sort_values("control")

    def values(layer: int, metric: str) -> list[float]:
        return sides[(sides["layer"] == layer) & (sides["metric"] == metric)]["value"].tolist()

    sizes = {layer: values(layer, "relative_shift")[0] for layer in store.layers}
    counts = {layer: {name: [int(n) for n in values(layer, name)] for name in COUNTS} for layer in store.layers}
    return sizes, counts
