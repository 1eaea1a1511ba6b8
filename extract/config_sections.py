"""The sections of a run's configuration: a variant, a dictionary, a source of documents. The run itself: extract/config.py."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from extract.config_file import PYPI_PREFIX
from store.format.manifest_values import VariantName
from store.names import ALL
from store.value_types import LARGEST

RESERVED_DOMAIN, MAX_DOMAIN = ALL, 100


def as_domain(name: str) -> str:
    """A domain, which is any line of text.

    Raises:
        ValueError: it is something else.
    """
    if not name.strip() or not name.isprintable() or len(name) > MAX_DOMAIN:
        raise ValueError(f"the domain {name[:40]!r} is no name; give a line of text, at most {MAX_DOMAIN} characters")
    if name == RESERVED_DOMAIN:
        raise ValueError(f"the domain '{RESERVED_DOMAIN}' is reserved for the total")
    return name


Domain = Annotated[str, AfterValidator(as_domain)]


def display_name(spec: str) -> str:
    """A model or folder by name: hub ids whole, local paths by their last piece, packages without the prefix."""
    return Path(spec).name if Path(spec).expanduser().exists() else spec.removeprefix(PYPI_PREFIX)


class Section(BaseModel):
    """What every section is: no other fields, none that changes, no number that a store cannot keep."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="after")
    def _can_be_kept(self) -> "Section":
        if large := [name for name, value in self if type(value) is int and abs(value) > LARGEST]:
            raise ValueError(f"{', '.join(large)} may not be beyond {LARGEST:,}")
        return self


class PlantedEdit(Section):
    """A known change, for checking the extractor: the base with one direction added or taken away at one block."""

    layer: int
    """Block whose output is changed."""
    feature: int | list[int]
    """Feature of that layer's dictionary whose decoder direction is used; of ablate, several may be given."""
    strength: float = Field(1.0, allow_inf_nan=False)
    """Added along the unit decoder direction, in units of the layer's median residual norm; negative takes away. Of ablate:
    the share that is taken; negative adds to it. Of rescale: the factor. Of rotate: the largest angle, in radians."""
    project_out: bool = False
    """Instead of adding: remove the component along the direction, measured from the base's mean residual."""
    ablate: bool = False
    """Instead of adding: take away what the feature itself writes, its activation times its direction, where it fires."""
    isotropic: bool = False
    """Instead of one direction: a random one for each token, of that strength; noise, in which nothing should be found."""
    rescale: bool = False
    """Instead of adding: multiply the residual stream, which changes its norm and no more."""
    rotate: bool = False
    """Instead of adding: turn the residual stream by one random rotation, drawn by the feature's number."""
    every: int = Field(1, ge=1)
    """Change only tokens whose id is divisible by this: 1 is every token."""

    @model_validator(mode="after")
    def _one_kind(self) -> "PlantedEdit":
        if self.isotropic + self.project_out + self.ablate + self.rescale + self.rotate > 1:
            raise ValueError("give at most one of isotropic, project_out, ablate, rescale, rotate")
        if not self.features:
            raise ValueError("feature: give one, or a list of some")
        if len(self.features) > 1 and not self.ablate:
            raise ValueError("feature: give one; several may only be ablated")
        return self

    @property
    def features(self) -> list[int]:
        """The feature, or all of them."""
        return self.feature if isinstance(self.feature, list) else [self.feature]


class VariantConfig(Section):
    """One fine-tuned variant: exactly one of the three."""

    adapter: str | None = None
    """PEFT adapter on the base: folder or hub id. Adapters share the base's weights in memory."""
    model: str | None = None
    """Full checkpoint: hub id, folder or .gguf."""
    planted: PlantedEdit | None = None
    """A known change of the base, for checks."""
    task: list[Domain] = []
    """Domains that the variant was trained for: did_shift compares them with the neutral ones. A replicate has those of the
    variant that it repeats."""
    replicate_of: VariantName | None = None
    """Another variant, of which this is a second run: the same recipe with another seed. A change of a feature is claimed only
    where every one of them shows it."""
    series: VariantName | None = None
    """The training of which this is a checkpoint: variants of one series are shown over their steps. A variant called maths-*,
    whose adapter or model has a * in its path, stands for one of each folder that it matches: maths-100 of checkpoint-100, in
    the series maths."""
    step: int | None = Field(None, ge=0)
    """After how many optimiser steps of its series the checkpoint was saved."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "VariantConfig":
        given = [name for name in ("adapter", "model", "planted") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of adapter, model, planted")
        if (self.series is None) != (self.step is None):
            raise ValueError("give series and step together: of which training this is a checkpoint, and after how many steps")
        return self

    @property
    def spec(self) -> str | None:
        """Where its weights are: hub id, folder or .gguf; None of a planted one."""
        return self.adapter or self.model

    @property
    def kind(self) -> Literal["adapter", "checkpoint", "planted"]:
        """What its weights are."""
        return "adapter" if self.adapter else "checkpoint" if self.model else "planted"

    @property
    def source(self) -> str:
        """What the manifest calls its weights: a hub id, or the name of the folder (its place is nobody's business)."""
        return display_name(self.spec) if self.spec else self.planted.model_dump_json()


class SaeConfig(Section):
    """One pretrained dictionary: a sae-lens release and id, or a folder."""

    release: str | None = None
    """sae-lens release, e.g. gemma-scope-2-270m-pt-res, or a repository of the hub in sae-lens' format."""
    id: str | None = None
    """Dictionary within the release, e.g. layer_12_width_16k_l0_medium, or folder within the repository."""
    path: str | None = None
    """Folder saved by sae-lens, sparsify or dictionary_learning, or one of Gemma Scope, Gemma Scope 2 or Llama Scope."""

    @model_validator(mode="after")
    def _one_source(self) -> "SaeConfig":
        if (self.path is None) == (self.release is None) or (self.release is None) != (self.id is None):
            raise ValueError("give either path, or release and id")
        return self

    @property
    def name(self) -> str:
        """What the dictionary is called in the store."""
        return Path(self.path).name if self.path else f"{self.release}/{self.id}"


class SourceConfig(Section):
    """One source of documents: a file, a folder or pattern of files, or a Hugging Face dataset.

    Each record is one document, recognised by the fields that it fills, in this order: ``messages`` (a list of role and
    content); ``prompt`` and ``response``; ``text``; ``chosen`` (a preference, whose chosen answer is read, with its ``prompt``
    or the whole conversation in it); ``conversations`` (ShareGPT's from and value, or role and content); ``prompt``,
    ``instruction`` (Alpaca, with ``input``), ``question``, ``query``, ``problem`` or ``input``, with ``response``,
    ``completion``, ``output``, ``answer`` or ``solution``. ``system``, ``history`` and ``tools`` are read with them.
    ``check`` and ``run`` tell for each source what it was read as. ``source`` (a unique id) and ``domain`` (any line of text)
    may stand in the record. A record without text is left out and counted.
    """

    path: str | None = None
    """File: .jsonl, .json (also an array, or one under "data" or the split's name), .csv, .tsv, .parquet, .arrow, .txt or .md;
    packed as .gz, .bz2, .xz or .zst, too. A folder or a pattern ('data/*.parquet') stands for its files, each a source of its
    own name, and its texts one. Or a folder that save_to_disk wrote."""
    dataset: str | None = None
    """Hugging Face dataset: hub id or a local folder."""
    config: str | None = None
    """Configuration of the dataset, where it has several."""
    split: str = "train"
    """Split of the dataset, or member of a JSON file that holds its records."""
    limit: int | None = Field(None, gt=0)
    """Read at most this many records, of each file of a folder; a dataset without it may have at most a million, a file two."""
    domain: Domain | None = None
    """Domain of every record; may be left out where each record has its own."""
    source_field: str | None = "source"
    """Field that holds a unique id of each record; null: records are known by file and line, as they also are where 'source' is
    not named here and obviously a category: it has half as many values as records, or fewer."""
    text_field: str = "text"
    """Field that holds the text, where it has another name; named here, it is what is read, whatever else a record holds."""
    format: str | None = None
    """Format of every record, where it fits several and another is meant than the first: 'Alpaca', 'ShareGPT', 'messages',
    'text', 'preference', 'question and answer' and the like, as check names it."""
    paragraphs: bool = False
    """Of a text file: each block between blank lines is a document, instead of the whole file."""
    cluster_field: str | None = "cluster"
    """Field that holds what a document was made from, with others: a template, an article, a work. Documents of one cluster
    count once in every interval. A record without it is a cluster of its own."""
    cluster_by_source: bool = False
    """Documents whose ids agree up to the last '/' are a cluster, where the record names none: 'gsm/17/3' and 'gsm/17/8'."""
    licence: str | None = Field(None, min_length=1, max_length=1000)
    """Under which licence the text is, e.g. "CC BY-SA 3.0": kept in the manifest and shown on the page About."""

    @model_validator(mode="after")
    def _one_source(self) -> "SourceConfig":
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give exactly one of path, dataset")
        if self.config is not None and self.dataset is None:
            raise ValueError("config belongs to a dataset; a file has none")
        return self
