"""A change in words: tokens whose probability rose or fell, and what a change at a layer says when the output head reads it."""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase

from extract.contributions.measure import Contributions, counting
from extract.contributions.merged import MergedFiles
from extract.contributions.path import Reading
from extract.contributions.tables import Group, Load
from extract.corpus.token_texts import TokenTexts
from extract.models.model_set import ModelSet
from extract.models.output_head import logit_effects
from extract.models.sites import Site
from extract.models.to_stream import TO_STREAM, to_stream
from extract.saes.dictionary_set import sites_of
from store.names import ALL, BASE, NEUTRAL, OBSERVED, SLOTS, TASK

KEPT = 20
"""Tokens that rose most and that fell most, of each domain and slot; and that a change raises most, of each place."""
READ_PASSAGES = 64
"""Whose activations of the base are drawn from."""
RANDOM_DIRECTIONS = 64
"""Of the base's activations, whose largest logits a direction of the spectrum is held to."""
CHANCE = 0.95
_UNREADABLE = re.compile(r"<unused\d*>|⟨\d+⟩|.*<0x[0-9A-F]{2}>.*", re.DOTALL)


class Words:
    """Writes the tables word_changes, change_words and vocabulary.

    Args:
        neutral: numbers of the domains that no variant was trained for.
        directions: layer -> random ones of the base's activations [n, d_model], which mean nothing.
    """

    def __init__(
        self,
        merged: MergedFiles,
        load: Load,
        groups: Sequence[Group],
        neutral: Sequence[int],
        models: ModelSet,
        tokenizer: PreTrainedTokenizerBase,
        words: int,
        directions: Mapping[int, np.ndarray],
    ) -> None:
        self._directions = directions
        self._merged, self._load, self._groups, self._neutral, self._models = merged, load, groups, neutral, models
        self._words = words
        texts = TokenTexts(tokenizer)
        texts.add(np.arange(words))
        self._texts = texts
        self._readable = np.array([not _UNREADABLE.fullmatch(texts[token]) for token in range(words)])
        self._named: set[int] = set()

    def write(self, sites: Sequence[Site], spectrum: pd.DataFrame) -> None:
        """Every table; of a site whose directions are none of the residual stream, no tokens.

        Args:
            sites: of the dictionaries.
            spectrum: the store's table, of directions from component 1 on: variant, layer, component, direction.
        """
        for group in self._groups:
            self._write_changes(group)
        for site in sites:
            if site.point not in TO_STREAM:
                continue
            for group in self._groups:
                self._write_means(group, site)
            self._write_directions(spectrum[spectrum["layer"] == site.layer], site)
        named = sorted(self._named)
        self._load("vocabulary", pd.DataFrame({"token_id": named, "token": [self._texts[token] for token in named]}))

    def _write_changes(self, group: Group) -> None:
        """What rose and fell in a variant, and the same tokens, and those that moved most, in its recipe's twins."""
        sums = {control: self._merged.word_changes(model, self._words) for control, model in self._models_of(group).items()}
        found = self._merged.predictions
        for domain, slot in self._margins(group):
            domains, slots = self._numbers(group, domain), self._slots(slot)
            weight = found["weight"][np.isin(found["domain"], domains) & np.isin(found["slot"], slots)].sum()
            if not weight:
                continue
            told: np.ndarray | None = None  # of the variant, which is the first
            for control, of_places in sums.items():
                parts = [of_places[number, place] for number in domains for place in slots if (number, place) in of_places]
                change = np.where(self._readable, sum(parts, np.zeros(self._words)), 0.0) / weight
                chosen = np.union1d(largest(change), largest(-change))
                chosen = chosen[change[chosen] != 0]
                told = chosen if told is None else told
                chosen = np.union1d(chosen, told)
                where = {"variant": group.variant, "control": control, "domain": domain, "slot": slot}
                self._load("word_changes", pd.DataFrame(where | {"token_id": chosen, "change": change[chosen]}))
                self._named.update(chosen.tolist())

    def _models_of(self, group: Group) -> Mapping[str, str]:
        """Control -> the variant, and the twins of its recipe's first run."""
        of_recipe = next(other for other in self._groups if other.variant == group.runs[0])
        return of_recipe.models | {OBSERVED: group.variant}

    def _margins(self, group: Group) -> Iterator[tuple[str, str]]:
        """(domain, slot): of both at least one is 'all', but for the task, which is told by slots too."""
        several = [TASK] * bool(group.task) + [NEUTRAL] * bool(self._neutral)
        yield from ((domain, ALL) for domain in (ALL, *several, *self._merged.sample.domains))
        yield from ((domain, slot) for domain in (ALL, *[TASK] * bool(group.task)) for slot in SLOTS)

    def _numbers(self, group: Group, domain: str) -> Sequence[int]:
        domains = self._merged.sample.domains
        known = {ALL: range(len(domains)), TASK: group.task, NEUTRAL: self._neutral}
        return known[domain] if domain in known else [domains.index(domain)]

    @staticmethod
    def _slots(slot: str) -> Sequence[int]:
        return range(len(SLOTS)) if slot == ALL else [SLOTS.index(slot)]

    def _write_means(self, group: Group, site: Site) -> None:
        """The mean change by domain and slot, alone and against that of the other recipes' first runs on the same text.

        Directions are compared, each of unit length: less a longer one a change would say what that one does not.
        """
        models = list(self._models_of(group).values())
        for domain in (ALL, TASK):
            for slot in (*SLOTS, ALL):
                place = {
                    "variant": group.variant,
                    "layer": site.layer,
                    "component": 0,
                    "way": "+",
                    "domain": domain,
                    "slot": slot,
                }
                numbers, slots = self._numbers(group, domain), self._slots(slot)
                own, others = (
                    [self._merged.mean_change(site.layer, model, numbers, slots) for model in of]
                    for of in (models, group.others)
                )
                if own[0] is None:
                    continue
                own, others = ([unit(mean) for mean in of] for of in (own, others))
                against = {"nothing": np.zeros_like(own[0])} | ({"others": np.mean(others, axis=0)} if others else {})
                for name, less in against.items():
                    scores = self._scores(site, np.array([mean - less for mean in own]))
                    chance = float(scores[1:].max()) if len(scores) > 1 else np.nan
                    self._write_scores(scores[0], chance, place | {"against": name})

    def _write_directions(self, spectrum: pd.DataFrame, site: Site) -> None:
        """The directions of the spectrum, either way: they have no sign of their own."""
        if spectrum.empty:
            return
        chance = float(np.quantile(self._scores(site, self._directions[site.layer]).max(axis=1), CHANCE))
        for variant, of_variant in spectrum.groupby("variant", sort=False):
            directions = np.stack(of_variant["direction"].to_list())
            both = self._scores(site, np.concatenate([directions, -directions])).reshape(2, len(directions), -1)
            for component, *scores in zip(of_variant["component"], *both, strict=True):
                for of_way, way in zip(scores, "+-", strict=True):
                    place = {"variant": variant, "layer": of_variant["layer"].iloc[0], "component": component, "way": way}
                    self._write_scores(of_way, chance, place | {"domain": ALL, "slot": ALL, "against": "nothing"})

    def _scores(self, site: Site, directions: np.ndarray) -> np.ndarray:
        """float32 [n, words], logits of directions [n, width] at a site, in standard deviations of each over the vocabulary.

        A direction has no size of its own: one as large that means nothing has as large logits. -inf for tokens that nobody
        can read.
        """
        model = self._models.base
        with torch.inference_mode():
            read = torch.from_numpy(directions).float().to(self._models.device)
            logits = logit_effects(model, to_stream(model, site.layer, site.point, read))[:, : self._words].cpu().numpy()
        readable = logits[:, self._readable]
        spread = np.maximum(readable.std(1, keepdims=True), np.finfo(np.float32).tiny)  # no change says nothing
        return np.where(self._readable, (logits - readable.mean(1, keepdims=True)) / spread, -np.inf)

    def _write_scores(self, scores: np.ndarray, chance: float, place: Mapping[str, object]) -> None:
        chosen = largest(scores)
        chosen = chosen[scores[chosen] > (0.0 if np.isnan(chance) else max(chance, 0.0))]
        self._load("change_words", pd.DataFrame({**place, "token_id": chosen, "score": scores[chosen], "chance": chance}))
        self._named.update(chosen.tolist())


def random_directions(shared: Contributions) -> dict[int, np.ndarray]:
    """Layer -> float64 [RANDOM_DIRECTIONS, d_model], of length 1, from the covariance of the base's activations in the sample.

    A normal mixture of centred rows is a draw from their covariance (:func:`extract.pilot.layer_pilot.chance_cosine`).
    """
    passages = shared.sample.passages
    some = np.linspace(0, len(passages) - 1, min(len(passages), READ_PASSAGES)).astype(int).tolist()
    rows: dict[int, list[torch.Tensor]] = {}
    for number in dict.fromkeys(some):
        windows = shared.windows([number])
        base = Reading(shared.models, BASE, windows, sites_of(shared.dictionaries), shared.words)
        for dictionary in shared.dictionaries:
            activation = base.at[dictionary.site].float()
            counts = counting(shared, dictionary, windows, dictionary.prepare(activation))
            rows.setdefault(dictionary.layer, []).append(activation[counts].double().cpu())
    found = {}
    for layer, parts in rows.items():
        residuals = torch.cat(parts)
        generator = torch.Generator().manual_seed(0)
        mixture = torch.randn(RANDOM_DIRECTIONS, len(residuals), generator=generator, dtype=torch.float64)
        found[layer] = torch.nn.functional.normalize(mixture @ (residuals - residuals.mean(0)), dim=1).numpy()
    return found


def unit(direction: np.ndarray) -> np.ndarray:
    """A direction of length 1; 0 where there is none."""
    return direction / max(float(np.linalg.norm(direction)), np.finfo(np.float32).tiny)


def largest(values: np.ndarray) -> np.ndarray:
    """Indices of the KEPT largest of [words] values, the largest first."""
    found = np.sort(np.argpartition(-values, KEPT)[:KEPT]) if len(values) > KEPT else np.arange(len(values))
    return found[np.argsort(-values[found], kind="stable")]
