"""Variants of a base whose weights are changed to no purpose, as folders that a run reads like anybody's fine-tune."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from extract.bench.page import Row
from extract.config import RunConfig
from extract.corpus.batches import Shard, make_batches
from extract.corpus.records import read_records
from extract.demo.data import training_sets
from extract.demo.data.chat import END_OF_TURN, with_chat_template
from extract.demo.training.fine_tuning import Recipe, encoded, fine_tune, save_adapter
from extract.models import twins
from extract.models.hooks import capture_activations, run_truncated
from extract.models.loading import load_model, load_tokenizer
from extract.models.sites import Site
from extract.pilot.twin_sizes import SAMPLE_TOKENS, TwinSize, find_size, relative_shift
from extract.run.inputs import read_dictionaries, read_text
from store.metrics.thresholds import SINK_FACTOR

GAIN = 1.1
NORMS = ("input_layernorm.weight", "pre_feedforward_layernorm.weight")
"""What a block of Gemma 3 reads by; its gain is 1 + the weight."""
GROUP = 32
"""Weights that share a scale when they are rounded to 4 bits."""
STEPS, MOST_TOKENS = 30, 192
"""Of those that are trained; and tokens of a chat, at most."""
FINE_TUNE = "default"
"""What PEFT calls the fine-tune's adapter."""


class NullModels:
    """Makes them, beside a LoRA fine-tune of the base, and where it makes sense as large as that.

    Args:
        config: whose base, corpus and dictionaries' layers are read.
        adapter: folder of the fine-tune.
        folder: where they are put.

    Attributes:
        sizes: of those that are made as large as the fine-tune.
    """

    def __init__(self, config: RunConfig, adapter: str, folder: Path) -> None:
        self.folder, self.adapter = folder, adapter
        self.sizes: dict[str, TwinSize] = {}
        self.model = load_model(config.base)
        self._sites = [dictionary.site for dictionary in read_dictionaries(config, "meta", torch.float32)[0]]
        sample = config.model_copy(update={"tokens": SAMPLE_TOKENS})
        text = read_text(sample, read_records(config.corpus), bos=True, quiet=True)
        shard = Shard(0, 0, tuple(text.corpus.documents))
        self._batches = list(make_batches(shard, config.context_length, config.batch_tokens, text.tokenizer.bos_token_id, 0))
        self._base = self._read(self.model)
        self._wanted: Mapping[int, float] = {}
        self._deltas: dict[str, torch.Tensor] = {}

    def write_adapters(self, twin_names: Sequence[str], minus: str) -> None:
        """Fresh twins of the fine-tune, as large as it, and the fine-tune's change with the other sign."""
        tuned = PeftModel.from_pretrained(self.model, self.adapter, adapter_name=FINE_TUNE).eval()
        self._wanted = self._shifts(tuned)
        layers = {name: module for name, module in tuned.get_base_model().named_modules() if isinstance(module, LoraLayer)}
        self._deltas = {f"{name}.weight": module.get_delta_weight(FINE_TUNE).clone() for name, module in layers.items()}
        for name in (*twin_names, minus):
            twins.add_to_adapters(tuned, FINE_TUNE, name)
            tuned.set_adapter(name)
            if name == minus:
                for module in layers.values():
                    module.lora_A[name].weight.data = module.lora_A[FINE_TUNE].weight.data.clone()
                    module.lora_B[name].weight.data = -module.lora_B[FINE_TUNE].weight.data
            else:
                self._write_twin(tuned, name)
            tuned.save_pretrained(self.folder, selected_adapters=[name], save_embedding_layers=False)
        self.model = tuned.unload()

    def write_checkpoint(self, name: str) -> str:
        """One of CHECKPOINTS, after :meth:`write_adapters`; its folder. They are large: :meth:`remove` it after use."""
        with self._kept():
            CHECKPOINTS[name](self)
            self.model.save_pretrained(self.folder / name)
        return self.place(name)

    def place(self, name: str) -> str:
        """The folder of one that was written."""
        return str(self.folder / name)

    def remove(self, name: str) -> None:
        """Take one away."""
        shutil.rmtree(self.folder / name)

    def add_noise(self) -> None:
        """Gaussian noise on every matrix that the fine-tune changes, in proportion to how much it does; as large as it."""
        random = torch.Generator().manual_seed(0)
        noise = {}
        for name, delta in self._deltas.items():
            drawn = torch.randn(delta.shape, generator=random)
            noise[name] = drawn * (delta.norm() / drawn.norm())
        base = {name: self._weight(name).clone() for name in noise}

        def read(factor: float) -> dict[int, float]:
            for name, drawn in noise.items():
                self._weight(name).copy_(base[name] + factor * drawn)
            return self._shifts(self.model)

        self.sizes["noise"] = find_size(read, self._wanted)
        read(self.sizes["noise"].factor)

    def round_weights(self, rounded: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Round every matrix that the fine-tune changes."""
        for name in self._deltas:
            weight = self._weight(name)
            weight.copy_(rounded(weight))

    def raise_gains(self) -> None:
        """Multiply the gains of the norms that blocks read by."""
        for name, parameter in self.model.named_parameters():
            if name.endswith(NORMS):
                parameter.data.copy_((1 + parameter.data) * GAIN - 1)

    def _weight(self, name: str) -> torch.Tensor:
        return self.model.get_parameter(name).data

    def _write_twin(self, tuned: PeftModel, name: str) -> None:
        """As large as the fine-tune."""

        def read(factor: float) -> dict[int, float]:
            twins.write_adapter(tuned, FINE_TUNE, name, ("null", name), factor)
            return self._shifts(tuned)

        self.sizes[name] = find_size(read, self._wanted)
        read(self.sizes[name].factor)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """The base's weights are afterwards what they were."""
        names = [name for name, _ in self.model.named_parameters() if name in self._deltas or name.endswith(NORMS)]
        touched = {name: self._weight(name).clone() for name in names}
        try:
            yield
        finally:
            for name, before in touched.items():
                self._weight(name).copy_(before)

    def _read(self, model: nn.Module) -> dict[int, torch.Tensor]:
        """Layer -> float32 [n, d_model], residuals of the sample."""
        found: dict[Site, list[torch.Tensor]] = {site: [] for site in self._sites}
        for batch in self._batches:
            with capture_activations(model, self._sites) as captured:
                run_truncated(model, torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask))
            for site, parts in found.items():
                parts.append(captured[site][torch.from_numpy(batch.rows >= 0)].float())
        return {site.layer: torch.cat(parts) for site, parts in found.items()}

    def _shifts(self, model: nn.Module) -> dict[int, float]:
        """Layer -> relative shift."""
        own = self._read(model)
        return {
            layer: relative_shift(base, own[layer], SINK_FACTOR * float(base.norm(dim=1).median()))
            for layer, base in self._base.items()
        }


def rounded(weight: torch.Tensor, bits: int, group: int | None = None) -> torch.Tensor:
    """To integers of so many bits and back, symmetrically, with one scale for each row, or for each group of its weights."""
    most = 2 ** (bits - 1) - 1
    parts = weight.reshape(len(weight), -1, group or weight.shape[1])
    scale = parts.abs().amax(-1, keepdim=True).clamp_min(1e-12) / most
    return (torch.round(parts / scale) * scale).reshape(weight.shape)


CHECKPOINTS: dict[str, Callable[[NullModels], None]] = {
    "noise": NullModels.add_noise,
    "int4": lambda models: models.round_weights(lambda weight: rounded(weight, 4, GROUP)),
    "int8": lambda models: models.round_weights(lambda weight: rounded(weight, 8)),
    "bf16": lambda models: models.round_weights(lambda weight: weight.bfloat16().float()),
    "gain": NullModels.raise_gains,
}
"""Those that no adapter can be."""


def train_adapters(base: str, folder: Path, texts: Sequence[str] = ("web", "fiction", "speeches")) -> dict[str, str]:
    """Two that do train something: the maths answers dealt to other prompts, and plain text read on; name -> folder.

    STEPS of the demo's own recipe, on the text that the demo's runs read.
    """
    tokenizer = with_chat_template(load_tokenizer(base))
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    items = training_sets.read_jsonl(training_sets.HERE / "corpus" / "maths.jsonl")
    answers = [item["response"] for item in items]
    Random(0).shuffle(answers)
    dealt = encoded([item | {"response": answer} for item, answer in zip(items, answers, strict=True)], tokenizer)
    plain = [chunk for domain in texts for chunk in _chunks(tokenizer, domain)]
    places = {}
    for name, chats in (("dealt-answers", dealt), ("read-on", plain)):
        cut = [(ids[:MOST_TOKENS], answer[:MOST_TOKENS]) for ids, answer in chats]
        short = [(ids, answer) for ids, answer in cut if any(answer)]
        recipe = Recipe(name, steps=STEPS, learning_rate=1e-3, loss_tokens=64, batch=4)
        tuned, _ = fine_tune(load_model(base), short, recipe, tokenizer.pad_token_id, end)
        (folder / name).mkdir()
        save_adapter(tuned, folder / name, base)
        places[name] = str(folder / name)
    return places


def _chunks(tokenizer, domain: str) -> Iterator[tuple[list[int], list[bool]]]:
    """Pieces of a domain's texts as if all of each were an answer."""
    for item in training_sets.read_jsonl(training_sets.HERE / "corpus" / f"{domain}.jsonl"):
        ids = [tokenizer.bos_token_id, *tokenizer.encode(item["text"], add_special_tokens=False)]
        for start in range(0, min(len(ids), 480) - 60, 110):
            piece = ids[start : start + 110]
            yield piece, [True] * len(piece)


def size_rows(sizes: Mapping[str, TwinSize]) -> list[Row]:
    """How near those that were to be as large as the fine-tune came."""
    what = "relative shift over the fine-tune's, on a sample"
    return [Row(f"{name}: {what}", size.ratio, "", None) for name, size in sizes.items()]
