"""Models in 4 and 8 bits: what a checkpoint's own settings say, and what a run asks for.

Here only FP8 is turned back into floats, as transformers does without a GPU; what bitsandbytes itself computes is not run.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from extract.__main__ import main
from extract.models import quantization
from extract.models.layout import on_meta
from extract.models.loading import load_model
from extract.models.quantization import weight_bytes
from store import open_store
from store.errors import UserError
from tests.support.architectures import LLAMA
from tests.support.world import World, one_thread

BLOCK = 16
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [BLOCK, BLOCK]}


def say(folder: Path, settings: dict) -> Path:
    """Write into a checkpoint's config.json how it is quantised."""
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"quantization_config": settings}))
    return folder


def in_fp8(folder: Path, model) -> Path:
    """A checkpoint whose maps are stored in 8-bit floats, with a scale for each block, as DeepSeek and Qwen publish theirs;
    ``model`` becomes what these numbers are."""
    model.save_pretrained(folder)
    stored = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            stored[name] = weight
            continue
        rows, columns = weight.shape
        blocks = weight.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
        scale = blocks.abs().amax((1, 3)) / 448
        small = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn)
        stored |= {name: small.reshape(rows, columns), f"{name}_scale_inv": scale}
        with torch.no_grad():
            exact = small.float() * scale[:, None, :, None]
            model.get_parameter(name).copy_(exact.reshape(rows, columns))
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    return say(folder, FP8)


@pytest.fixture
def tiny_llama():
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(LlamaConfig(**LLAMA)).eval()


def test_a_checkpoint_in_eight_bit_floats(tmp_path, tiny_llama):
    folder = in_fp8(tmp_path / "model", tiny_llama)
    for device in ("meta", "cpu"):
        notes: list[str] = []
        model = load_model(str(folder), device=device, what="The base 'x'", notes=notes)
        assert notes == ["The base 'x' is quantised (fp8); its numbers were turned into floats as it was loaded."]
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, tiny_llama(ids).logits)


def test_a_run_with_a_variant_in_eight_bit_floats(world: World, tmp_path, capsys):
    """It is another model than the base, by what the smaller numbers round; the manifest says so."""
    folder = in_fp8(tmp_path / "small", AutoModelForCausalLM.from_pretrained(world.base))
    PreTrainedTokenizerFast.from_pretrained(world.base).save_pretrained(folder)
    config = world.config(tmp_path, variants={"small": {"model": str(folder)}}, tokens=400, twins=1)
    with one_thread():
        assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    words = "The variant 'small' (small) is quantised (fp8); its numbers were turned into floats as it was loaded."
    assert words in capsys.readouterr().out
    with open_store(tmp_path / "store") as store:
        assert words in store.manifest.notes
        rows = store.layer_metrics(variant="small")
    shift = rows[(rows["metric"] == "relative_shift") & (rows["control"] == "observed") & (rows["domain"] == "all")]["value"]
    assert (shift > 1e-3).all() and (shift < 0.3).all()


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(
    ("settings", "package"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 16}, "gptq"),
        ({"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": True}, "gptqmodel"),
        ({"quant_method": "hqq", "quant_config": {}}, "hqq"),
        ({"quant_method": "quanto", "weights": "int8"}, "quanto"),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed"),
        ({"quant_method": "torchao", "quant_type": {"default": {}}}, "torchao"),
        ({"quant_method": "none of them"}, "none of them"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.get("quant_method"),
)
def test_a_library_that_is_missing_is_named(tmp_path, tiny_llama, settings, package, device):
    tiny_llama.save_pretrained(tmp_path)
    say(tmp_path, settings)
    with pytest.raises(UserError, match=rf"(?i)^The base could not be loaded: .*{package}") as said:
        load_model(str(tmp_path), device=device, what="The base")
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("installed", "words"),
    [
        (None, "'quantization: 4bit' needs the package bitsandbytes, which is not installed; run: pip install bitsandbytes"),
        (object(), "'quantization: 4bit' needs a GPU, and the run's device is 'cpu'; leave it out."),
    ],
    ids=["not installed", "no GPU"],
)
def test_a_run_that_asks_for_what_is_not_there(world: World, tmp_path, capsys, monkeypatch, command, installed, words):
    monkeypatch.setattr(quantization, "find_spec", lambda _name: installed)
    config = world.config(tmp_path, quantization="4bit")
    with one_thread():
        assert main([command, str(config), *(["--out", str(tmp_path / "store")] if command == "run" else [])]) == 2
    printed = capsys.readouterr()
    assert words in " ".join((printed.out + printed.err).split())
    assert not (tmp_path / "store").exists()


def test_what_is_quantised_is_not_quantised_again(tmp_path, tiny_llama):
    folder = in_fp8(tmp_path / "model", tiny_llama)
    with pytest.raises(UserError, match=r"^The base is quantised already \(fp8\), and cannot be turned into 8bit; leave .*"):
        load_model(str(folder), what="The base", quantization="8bit")


@pytest.mark.parametrize(("asked", "field"), [("8bit", "load_in_8bit"), ("4bit", "load_in_4bit")])
def test_what_transformers_is_asked_for(tmp_path, tiny_llama, monkeypatch, asked, field):
    """The rest of the way there is bitsandbytes' own; a note says what was done."""
    tiny_llama.save_pretrained(tmp_path)
    real, seen = AutoModelForCausalLM.from_pretrained, {}

    def loads(*arguments, **options):
        seen.update(options)
        options.pop("quantization_config")
        return real(*arguments, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loads)
    notes: list[str] = []
    load_model(str(tmp_path), torch.bfloat16, what="The base 'x'", notes=notes, quantization=asked)
    assert getattr(seen["quantization_config"], field)
    assert seen["device_map"] == "cpu"
    if asked == "4bit":
        assert seen["quantization_config"].bnb_4bit_compute_dtype == torch.bfloat16
    words = f"The base 'x' was turned into {asked[0]}-bit numbers as it was loaded (bitsandbytes)"
    assert any(words in note for note in notes)


def test_bytes_of_weights():
    """Llama of 3 blocks: queries and output 32 x 32, keys and values 32 x 16, three maps of the MLP 32 x 48: 7,680 each; beside
    them embedding and head of 60 x 32 each and 7 norms of 32: 4,064."""
    maps, others = 3 * (2 * 1024 + 2 * 512 + 3 * 1536), 2 * 1920 + 7 * 32
    model = on_meta(LlamaConfig(**LLAMA))
    assert weight_bytes(model, torch.bfloat16, None) == 2 * (maps + others)
    assert weight_bytes(model, torch.bfloat16, "8bit") == maps + 2 * others
    assert weight_bytes(model, torch.bfloat16, "4bit") == maps * 4.5 / 8 + 2 * others
    for own, bits in ((FP8, 8), ({"quant_method": "gptq", "bits": 4}, 4), ({"quant_method": "odd"}, 16)):
        model.config.quantization_config = own
        assert weight_bytes(model, torch.bfloat16, None) == maps * bits / 8 + 2 * others
