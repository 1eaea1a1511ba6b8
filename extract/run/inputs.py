"""What a run reads: corpus, models and dictionaries, loaded and checked; every process of a run does it for itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from extract.config import RunConfig
from extract.config_sections import display_name
from extract.corpus.documents import Corpus, check_ids, tokenize
from extract.corpus.records import Record, check_domains, check_named_domains, read_corpus
from extract.corpus.render import Renderer, is_chat
from extract.measure.run_context import RunContext
from extract.measure.token_kl import check_predictions
from extract.models.load_trial import trial_tokens
from extract.models.loading import load_tokenizer, local_folder, model_config, resolve_device, resolve_dtype, resolve_sae_dtype
from extract.models.model_set import ModelSet, variant_tokenizers
from extract.models.point_trial import kind_of_block, try_point
from extract.models.residuals import ResidualReader
from extract.models.sites import Site
from extract.pilot import layer_pilot
from extract.pilot.layer_pilot import LayerPilot, Pilot
from extract.pilot.planted import planted_change
from extract.progress import progress_bar
from extract.run.provenance import fingerprint, fingerprint_hash
from extract.saes.dictionary import Dictionary
from extract.saes.dictionary_set import load_dictionaries, load_replicas, sites_of
from extract.saes.notes import run_notes
from store.errors import UserError
from store.format.writer import StoreWriter
from store.names import BASE
from store.points import RESID_POST

LEAST_TOKENS = 2
"""Of one nothing varies."""


@dataclass(frozen=True)
class Text:
    """The corpus as token ids, and the tokenizer that made them."""

    tokenizer: PreTrainedTokenizerBase
    corpus: Corpus


@dataclass(frozen=True)
class Inputs:
    """Everything that a run reads, loaded and checked.

    Attributes:
        bos: token id put before each context window, or None.
        digests: from :func:`extract.run.provenance.fingerprint`.
        notes: what was done in loading that the user should know, a sentence each.
    """

    models: ModelSet
    tokenizer: PreTrainedTokenizerBase
    dictionaries: list[Dictionary]
    replicas: list[Dictionary]
    corpus: Corpus
    bos: int | None
    digests: dict[str, str]
    notes: list[str]

    @property
    def pad(self) -> int:
        """Token id for padding, which is masked: the tokenizer's, or 0 where a model's embedding has no row for that."""
        pad = self.tokenizer.pad_token_id or 0
        return pad if pad < min(self.models.embedding_rows.values()) else 0


def load_inputs(config: RunConfig, say: Callable[[str], None], device: str | None = None, quiet: bool = False) -> Inputs:
    """Read and check everything, what is quick to refuse first.

    Args:
        say: where progress in words goes, and the notes.
        device: instead of the configuration's.
        quiet: no progress bar.

    Raises:
        UserError: something is missing, damaged, or does not belong together.
    """
    device = resolve_device(device or config.device)
    torch.use_deterministic_algorithms(True, warn_only=True)
    local_folder(config.base)  # a GGUF is converted first: its settings are then read in no time
    say(f"Reading the corpus ({len(config.corpus)} sources)")
    raw = read_corpus(config.corpus)
    for reading in raw.readings:
        say(f"  {reading.line()}")
    check_domains(config, raw.records)
    dtype = resolve_dtype(config.dtype, device)
    dictionaries, replicas = read_dictionaries(config, device, dtype)
    text = read_text(config, raw.records, wants_bos(config, dictionaries), quiet)
    text.corpus.readings = raw.readings
    check_corpus(config, text.corpus)
    bos = bos_token(config, text.tokenizer, dictionaries)
    check_planted(config, dictionaries)
    say(f"Loading the base and {len(config.variants)} variant(s) on {device}")
    models = ModelSet(config, device, dtype)
    check_token_ids(models, text.corpus, bos)
    check_predictions(config, models.one_at_a_time)
    try_points(models, sites_of((*dictionaries, *replicas)))
    of_dictionaries = [note for read in (*dictionaries, *replicas) for note in read.notes]
    notes = [*raw.notes, *text.corpus.notes, *models.notes, *of_dictionaries]
    for note in notes:
        say(f"Note: {note}")
    digests = fingerprint(config, text.corpus, text.tokenizer, models, dictionaries, replicas)
    return Inputs(models, text.tokenizer, dictionaries, replicas, text.corpus, bos, digests, notes)


def read_text(config: RunConfig, records: Sequence[Record], bos: bool, quiet: bool = False) -> Text:
    """Render and tokenise records with the base's tokenizer; those of the variants must agree.

    Args:
        records: all, or for a look :func:`extract.corpus.records.first_records`.
        bos: one is put before each context window, so that documents are read without one at their start.
        quiet: no progress bar.

    Raises:
        UserError: a tokenizer is missing or differs, or a record cannot be rendered.
    """
    tokenizer = load_tokenizer(config.base)
    others = variant_tokenizers(config)
    renderer = Renderer(None, tokenizer, keep_bos=not bos)
    if config.chat_template is not None or any(map(is_chat, records)):
        renderer = Renderer.for_run(config.chat_template, {BASE: tokenizer, **others}, config.template_date, not bos)
    with progress_bar(config.tokens, "tokenising", "token", disable=quiet) as bar:
        corpus = tokenize(records, tokenizer, renderer, config.tokens, config.document_tokens, others, bar.update)
    return Text(tokenizer, corpus)


def check_corpus(config: RunConfig, corpus: Corpus) -> None:
    """Refuse a corpus of which nothing is left to compare.

    Raises:
        UserError: it has too few tokens, or none of a domain that a setting names.
    """
    check_named_domains(config, corpus.domains)
    if corpus.n_tokens < LEAST_TOKENS:
        raise UserError("The corpus has 1 token: that is too little to compare anything on; give more text.")


def read_dictionaries(config: RunConfig, device: str, dtype: torch.dtype) -> tuple[list[Dictionary], list[Dictionary]]:
    """The run's dictionaries, and its replicas.

    Args:
        device: "meta" reads no weights: shapes and settings only, for ``check``.
        dtype: of the models.

    Raises:
        UserError: one is missing, cannot be read, or does not fit the base.
    """
    shape = model_config(config.base)
    of_saes = resolve_sae_dtype(config.sae_dtype, dtype)
    dictionaries = load_dictionaries(config.saes, shape, device, of_saes)
    replicas = load_replicas(config.replicas, dictionaries, shape, device, of_saes)
    dictionaries[0].notes += run_notes(config, [(read.name, read.settings) for read in (*dictionaries, *replicas)])
    return dictionaries, replicas


def wants_bos(config: RunConfig, dictionaries: Sequence[Dictionary]) -> bool:
    """Whether a BOS is put before each context window.

    Raises:
        UserError: the configuration leaves it to the dictionaries, and they differ.
    """
    if config.prepend_bos != "auto":
        return config.prepend_bos
    wishes = {dictionary.prepend_bos for dictionary in dictionaries}
    if len(wishes) > 1:
        raise UserError("Some dictionaries were trained with BOS and some without; set prepend_bos to true or false.")
    return wishes.pop()


def bos_token(config: RunConfig, tokenizer: PreTrainedTokenizerBase, dictionaries: Sequence[Dictionary]) -> int | None:
    """The token put before each context window, or None where the dictionaries were trained without.

    Raises:
        UserError: they differ, or the tokenizer has none.
    """
    if not wants_bos(config, dictionaries):
        return None
    if tokenizer.bos_token_id is None:
        raise UserError("The dictionaries want BOS before each window, but the tokenizer has none; set prepend_bos: false.")
    return tokenizer.bos_token_id


def try_points(models: ModelSet, sites: Sequence[Site]) -> None:
    """Read and write a site of each kind of block of the base on a few tokens; of blocks' outputs that was done before.

    Raises:
        UserError: one is not what it is taken for.
    """
    tokens, tried = trial_tokens(models.device), set()
    for site in sites:
        kind = (site.point, kind_of_block(models.base, site.layer))
        if site.point != RESID_POST and kind not in tried:
            tried.add(kind)
            with models.active(BASE, tokens) as model:
                try_point(model, site, tokens, f"The base '{display_name(models.config.base)}'")


def check_token_ids(models: ModelSet, corpus: Corpus, bos: int | None) -> None:
    """See that every model has an embedding for every token.

    Raises:
        UserError: names the token id, and the document that holds it.
    """
    for name, rows in models.embedding_rows.items():
        check_ids(corpus, rows, name, bos)


def check_planted(config: RunConfig, dictionaries: Sequence[Dictionary]) -> None:
    """Refuse a planted variant that edits a feature which no dictionary has.

    Raises:
        UserError: so it is.
    """
    sizes = {dictionary.layer: dictionary.d_sae for dictionary in dictionaries}
    for name, variant in config.variants.items():
        edit = variant.planted
        for feature in edit.features if edit is not None else ():
            if not 0 <= feature < sizes.get(edit.layer, 0):
                raise UserError(
                    f"The planted variant '{name}' edits feature {feature} of layer {edit.layer}, which no dictionary of "
                    "the run has."
                )


def plant_variants(models: ModelSet, dictionaries: list[Dictionary], fixed: Mapping[int, LayerPilot]) -> None:
    """Give the planted variants of a configuration their changes, which depend on the pilot.

    Raises:
        UserError: see :func:`check_planted`.
    """
    check_planted(models.config, dictionaries)
    by_layer = {dictionary.layer: dictionary for dictionary in dictionaries}
    pad = models.shape.pad_token_id or 0
    planted = {name: variant.planted for name, variant in models.config.variants.items() if variant.planted is not None}
    changes = {name: planted_change(edit, by_layer[edit.layer], fixed[edit.layer], pad) for name, edit in planted.items()}
    models.plant(changes)


def run_context(
    config: RunConfig,
    inputs: Inputs,
    pilot: Pilot,
    writer: StoreWriter,
    reader: ResidualReader | None = None,
) -> RunContext:
    """What every shard of the run shares; the pilot must be saved."""
    return RunContext(
        config,
        inputs.models,
        reader or ResidualReader(inputs.models),
        inputs.dictionaries,
        inputs.replicas,
        pilot.layers,
        pilot.twins,
        inputs.bos,
        inputs.pad,
        inputs.corpus.domains,
        f"{fingerprint_hash(inputs.digests)} {layer_pilot.digest(writer)}",
    )
