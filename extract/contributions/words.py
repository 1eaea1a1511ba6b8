"""A change in words: tokens whose probability rose or fell, and what a change at a layer says when the output head reads it."""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase

from extract.contributions.merged import MergedFiles
from extract.contributions.tables import Group, Load
from extract.corpus.token_texts import TokenTexts
from extract.models.model_set import ModelSet
from extract.models.output_head import logit_effects
from store.names import ALL, NEUTRAL, OBSERVED, SLOTS, TASK

KEPT = 20
"""Tokens that rose most and that fell most, of each domain and slot; and that a change raises most, of each place."""
RANDOM_DIRECTIONS = 64
"""Whose largest logits a direction of the spectrum is held to."""
CHANCE = 0.95
_UNREADABLE = re.compile(r"<unused\d*>|⟨\d+⟩|.*<0x[0-9A-F]{2}>.*", re.DOTALL)


class Words:
    """Writes the tables word_changes, change_words and vocabulary.

    Args:
        neutral: numbers of the domains that no variant was trained for.
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
    ) -> None:
        self._merged, self._load, self._groups, self._neutral, self._models = merged, load, groups, neutral, models
        self._words = words
        texts = TokenTexts(tokenizer)
        texts.add(np.arange(words))
        self._texts = texts
        self._readable = np.array([not _UNREADABLE.fullmatch(texts[token]) for token in range(words)])
        self._named: set[int] = set()

    def write(self, layers: Sequence[int], spectrum: pd.DataFrame) -> None:
        """Every table.

        Args:
            spectrum: the store's table, of directions from component 1 on: variant, layer, component, direction.
        """
        for group in self._groups:
            for control, model in group.models.items():
                self._write_changes(group, control, model)
        for layer in layers:
            for group in self._groups:
                self._write_means(group, layer)
            self._write_directions(spectrum[spectrum["layer"] == layer])
        named = sorted(self._named)
        self._load("vocabulary", pd.DataFrame({"token_id": named, "token": [self._texts[token] for token in named]}))

    def _write_changes(self, group: Group, control: str, model: str) -> None:
        sums = self._merged.word_changes(model, self._words)
        found = self._merged.predictions
        rows = []
        for domain, slot in self._margins(group):
            domains, slots = self._numbers(group, domain), self._slots(slot)
            n = int((np.isin(found["domain"], domains) & np.isin(found["slot"], slots)).sum())
            parts = [sums[number, place] for number in domains for place in slots if (number, place) in sums]
            if not n or not parts:
                continue
            change = np.where(self._readable, np.sum(parts, axis=0), 0.0) / n
            chosen = np.union1d(largest(change), largest(-change))
            chosen = chosen[change[chosen] != 0]
            where = {"variant": group.variant, "control": control, "domain": domain, "slot": slot}
            rows.append(pd.DataFrame(where | {"token_id": chosen, "change": change[chosen]}))
            self._named.update(chosen.tolist())
        self._load("word_changes", pd.concat(rows))

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

    def _write_means(self, group: Group, layer: int) -> None:
        """The mean change by domain and slot, alone and against that of the other recipes' first runs on the same text.

        Directions are compared, each of unit length: less a longer one a change would say what that one does not.
        """
        firsts = [other.variant for other in self._groups if other.variant == other.runs[0] != group.runs[0]]
        of_recipe = next(other for other in self._groups if other.variant == group.runs[0])
        models = [group.variant, *(model for control, model in of_recipe.models.items() if control != OBSERVED)]
        for domain in (ALL, TASK):
            for slot in (*SLOTS, ALL):
                place = {"variant": group.variant, "layer": layer, "component": 0, "way": "+", "domain": domain, "slot": slot}
                numbers, slots = self._numbers(group, domain), self._slots(slot)
                own, others = (
                    [self._merged.mean_change(layer, model, numbers, slots) for model in of] for of in (models, firsts)
                )
                if own[0] is None:
                    continue
                own, others = ([unit(mean) for mean in of] for of in (own, others))
                against = {"nothing": np.zeros_like(own[0])} | ({"others": np.mean(others, axis=0)} if others else {})
                for name, less in against.items():
                    scores = self._scores(np.array([mean - less for mean in own]))
                    chance = float(scores[1:].max()) if len(scores) > 1 else np.nan
                    self._write_scores(scores[0], chance, place | {"against": name})

    def _write_directions(self, spectrum: pd.DataFrame) -> None:
        """The directions of the spectrum, either way: they have no sign of their own."""
        if spectrum.empty:
            return
        d_model = len(spectrum["direction"].iloc[0])
        random = torch.randn(RANDOM_DIRECTIONS, d_model, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        highest = self._scores(torch.nn.functional.normalize(random, dim=1).numpy()).max(axis=1)
        chance = float(np.quantile(highest, CHANCE))
        for row in spectrum.itertuples():
            scores = self._scores(np.array([row.direction, [-x for x in row.direction]]))
            for of_way, way in zip(scores, "+-", strict=True):
                place = {"layer": row.layer, "component": row.component, "way": way, "domain": ALL, "slot": ALL}
                place |= {"against": "nothing"}
                self._write_scores(of_way, chance, {"variant": row.variant} | place)

    def _scores(self, directions: np.ndarray) -> np.ndarray:
        """float32 [n, words], logits of directions [n, d_model] in standard deviations of each one's over the vocabulary.

        A direction has no size of its own: one as large that means nothing has as large logits. -inf for tokens that nobody
        can read.
        """
        model = self._models.base
        with torch.inference_mode():
            read = torch.from_numpy(directions).float().to(self._models.device)
            logits = logit_effects(model, read)[:, : self._words].cpu().numpy()
        readable = logits[:, self._readable]
        spread = np.maximum(readable.std(1, keepdims=True), np.finfo(np.float32).tiny)  # no change says nothing
        return np.where(self._readable, (logits - readable.mean(1, keepdims=True)) / spread, -np.inf)

    def _write_scores(self, scores: np.ndarray, chance: float, place: Mapping[str, object]) -> None:
        chosen = largest(scores)
        chosen = chosen[scores[chosen] > (0.0 if np.isnan(chance) else max(chance, 0.0))]
        self._load("change_words", pd.DataFrame({**place, "token_id": chosen, "score": scores[chosen], "chance": chance}))
        self._named.update(chosen.tolist())


def unit(direction: np.ndarray) -> np.ndarray:
    """A direction of length 1; 0 where there is none."""
    return direction / max(float(np.linalg.norm(direction)), np.finfo(np.float32).tiny)


def largest(values: np.ndarray) -> np.ndarray:
    """Indices of the KEPT largest of [words] values, the largest first."""
    found = np.sort(np.argpartition(-values, KEPT)[:KEPT]) if len(values) > KEPT else np.arange(len(values))
    return found[np.argsort(-values[found], kind="stable")]
