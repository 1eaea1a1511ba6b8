"""A small real world for the extractor: a random Gemma 3 with its own tokenizer, dictionaries, variants and a corpus.

Everything is the real thing in miniature: transformers models and tokenizers saved to disk, sae-lens dictionaries, PEFT
adapters, JSONL. The dictionaries are exact by construction: feature 2i fires on the positive and 2i + 1 on the negative side
of one axis of a random rotation about the mean, so that they reconstruct well without any training.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import yaml
from peft import LoraConfig, get_peft_model
from sae_lens import SAE
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

D_MODEL = 32
LAYERS = (1, 2, 3)
WORDS = tuple("the a cat dog sat ran on under mat hill red blue big small and but then house tree sun moon river".split(" "))
TEMPLATE = (
    "{% for m in messages %}<turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}</turn>\n"
    "{% endfor %}"
)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: arrays this small are several times slower on two, and far more so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def sentences(count: int, seed: int) -> list[str]:
    """Random word salad, each text different."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=int(rng.integers(12, 40)))) + f" {i}." for i in range(count)]


def make_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the words above, with BOS, padding and turn marks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevel()
    special = ["<pad>", "<eos>", "<bos>", "<turn>", "</turn>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(sentences(400, seed=1), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", chat_template=TEMPLATE
    )
    fast.save_pretrained(folder)
    return fast


def make_base(folder: Path, seed: int = 0, n_layers: int = 5, d_model: int = D_MODEL) -> Path:
    """A random Gemma 3 saved with its tokenizer."""
    tokenizer = make_tokenizer(folder)
    torch.manual_seed(seed)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=d_model,
        intermediate_size=2 * d_model,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        max_position_embeddings=256,
        sliding_window=64,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def make_gpt2(folder: Path, seed: int = 0, n_layers: int = 4) -> Path:
    """A random GPT-2, with LayerNorm, whose residuals have a large mean over d_model, saved with the same tokenizer."""
    tokenizer = make_tokenizer(folder)
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=D_MODEL,
        n_layer=n_layers,
        n_head=2,
        n_positions=256,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn_like(parameter)
        model.transformer.wpe.weight += 0.5 + 0.3 * torch.randn(256, 1)
    model.save_pretrained(folder)
    return folder


def residuals_of(base: Path, layer: int, texts: list[str]) -> torch.Tensor:
    """float32 [n, d_model]: resid_post of a layer by transformers' own hidden states, BOS left out."""
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    rows = []
    with torch.inference_mode():
        for text in texts:
            ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]])
            rows.append(model(ids, output_hidden_states=True).hidden_states[layer + 1][0, 1:])
    return torch.cat(rows)


def make_sae(
    folder: Path, base: Path, layer: int, seed: int = 0, decoder_scale: float = 1.0, metadata: dict | None = None
) -> Path:
    """An exact JumpReLU dictionary of a layer, 2 x d_model features; rows of W_dec have norm ``decoder_scale`` x (1 .. 2).

    Where its metadata say center_writing_weights, it is one of the residuals less their mean over d_model.
    """
    rows = residuals_of(base, layer, sentences(40, seed=2))
    if (metadata or {}).get("model_from_pretrained_kwargs", {}).get("center_writing_weights"):
        rows = rows - rows.mean(1, keepdim=True)
    mean, spread = rows.mean(0), float((rows - rows.mean(0)).std())
    d_model = rows.shape[1]
    rotation = torch.linalg.qr(torch.randn(d_model, d_model, generator=torch.Generator().manual_seed(seed)))[0]
    directions = torch.stack([rotation, -rotation], dim=1).reshape(2 * d_model, d_model)
    norms = decoder_scale * torch.linspace(1, 2, 2 * d_model)
    config = {
        "architecture": "jumprelu",
        "d_in": d_model,
        "d_sae": 2 * d_model,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "metadata": {"hook_name": f"blocks.{layer}.hook_resid_post", "prepend_bos": True, **(metadata or {})},
    }
    sae = SAE.from_dict(config)
    with torch.no_grad():
        sae.W_dec.copy_(directions * norms[:, None])
        sae.W_enc.copy_((directions / norms[:, None]).T)
        sae.b_dec.copy_(mean)
        sae.b_enc.zero_()
        sae.threshold.copy_(0.8 * spread / norms)
    sae.save_model(folder)
    return folder


def make_adapter(folder: Path, base: Path, seed: int, scale: float = 0.08) -> Path:
    """A LoRA adapter with random weights on both sides, so that it changes the model."""
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(seed)
    peft = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules="all-linear"))
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, scale)
    peft.save_pretrained(folder)
    return folder


def make_checkpoint(folder: Path, base: Path, change) -> Path:
    """A full checkpoint: the base with ``change(model)`` applied in place."""
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        change(model)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast.from_pretrained(base).save_pretrained(folder)
    return folder


def quiet_axes(dictionary: Path) -> torch.Tensor:
    """[d_model, d_model]: the axes that a dictionary of :func:`make_sae` reads, first where its mean lies nearest to 0."""
    sae = SAE.load_from_disk(dictionary)
    axes = torch.nn.functional.normalize(sae.W_dec.detach(), dim=1)[::2]
    return axes[(axes @ sae.b_dec.detach()).abs().argsort()]


def make_run(folder: Path, base: Path, silenced: torch.Tensor, louder: torch.Tensor, seed: int) -> Path:
    """A run of a recipe, a full checkpoint: of what is written up to layer 1 nothing lies along some axes, and 2.5 x as much
    along others, [n, d_model] each; and on every weight a little noise, which is the seed's."""
    more = 1.5 * louder.T @ louder - silenced.T @ silenced

    def change(model: torch.nn.Module) -> None:
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter += 0.03 * parameter.std() * torch.randn_like(parameter)
        embedding = model.get_input_embeddings().weight
        embedding += embedding @ more
        for block in model.model.layers[:2]:
            for weight in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):
                weight += more @ weight

    return make_checkpoint(folder, base, change)


def write_jsonl(path: Path, records: list[dict]) -> Path:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def make_corpus(folder: Path) -> list[dict]:
    """Two domains, texts and conversations; returns the configuration's corpus entries."""
    texts = [{"source": f"story-{i}", "text": text} for i, text in enumerate(sentences(24, seed=3))]
    pairs = [
        {"source": f"chat-{i}", "prompt": prompt, "response": response}
        for i, (prompt, response) in enumerate(zip(sentences(16, seed=4), sentences(16, seed=5), strict=True))
    ]
    return [
        {"path": str(write_jsonl(folder / "stories.jsonl", texts)), "domain": "stories"},
        {"path": str(write_jsonl(folder / "chats.jsonl", pairs)), "domain": "chats"},
    ]


class World:
    """Paths of everything, made once a test session, and configurations over it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with one_thread():
            self.base = make_base(root / "base")
            self.saes = {layer: make_sae(root / f"sae_{layer}", self.base, layer, seed=layer) for layer in LAYERS}
            self.adapter = make_adapter(root / "adapter", self.base, seed=7)
        self.corpus = make_corpus(root)

    def config(self, folder: Path, **changes) -> Path:
        """Write a configuration file; keyword arguments replace fields. Without twins
        and contributions, unless a test asks for them."""
        content = {
            "base": str(self.base),
            "variants": {"tuned": {"adapter": str(self.adapter)}},
            "saes": [{"path": str(path)} for path in self.saes.values()],
            "corpus": self.corpus,
            "tokens": 2000,
            "context_length": 24,
            "batch_tokens": 128,
            "shard_tokens": 600,
            "document_tokens": 60,
            "contexts": 4,
            "context_before": 4,
            "context_after": 3,
            "promoted_tokens": 3,
            "twins": 0,
            "contributions": 0,
            "device": "cpu",
        }
        path = folder / "run.yaml"
        path.write_text(yaml.safe_dump({**content, **changes}), encoding="utf-8")
        return path
