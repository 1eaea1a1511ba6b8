"""Loading language models: base, full checkpoints, PEFT adapters on the base, and GGUF files converted once.

A *spec* names a model: a hub id, a folder, a ``.gguf`` file, or ``pypi:PACKAGE`` for a GGUF that a Python package
ships (the demo's base model comes that way, because package registries are reachable where the hub is not).
"""

import hashlib
import importlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from accelerate.utils.modeling import get_state_dict_offloaded_model
from filelock import FileLock
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from extract.config_file import PYPI_PREFIX
from extract.models.checkpoints import judged, load_checkpoint
from extract.models.quantization import Quantization
from store.errors import UserError, first_line, reason
from store.files import Identity, identity
from store.format.manifest import file_hash

CONVERSION = "complete"
"""Of GGUF files: raise it when what is kept of one changes. Before it was this, nobody had looked whether all was there."""


def cache_dir() -> Path:
    """Where converted models and downloads are kept: ``$FEATURESHIFT_CACHE`` or ``~/.cache/featureshift``.

    Raises:
        UserError: neither is known.
    """
    try:
        return Path(os.environ.get("FEATURESHIFT_CACHE") or Path.home() / ".cache" / "featureshift")
    except RuntimeError as error:
        raise UserError("This user has no home folder for the cache; name another by FEATURESHIFT_CACHE.") from error


def resolve_dtype(name: str, device: str) -> torch.dtype:
    """``auto`` is bfloat16 on a GPU and float32 on a CPU, where bfloat16 is several times slower."""
    if name == "auto":
        return torch.float32 if device == "cpu" else torch.bfloat16
    return getattr(torch, name)


def resolve_sae_dtype(name: str, of_models: torch.dtype) -> torch.dtype:
    """``auto`` is the models' dtype where large activations fit into it, else float32."""
    if name == "auto":
        return torch.bfloat16 if of_models == torch.bfloat16 else torch.float32
    return getattr(torch, name)


def resolve_device(name: str) -> str:
    """``auto`` takes the first GPU when there is one.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"There is no device '{name}'; set device to auto, cpu, cuda or cuda:N.") from error
    if name != "cpu" and device.type != "cuda":
        raise UserError(f"The device '{name}' is none that a run can use; set device to auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"The device '{name}' was asked for but torch sees no GPU; set 'device: cpu' or 'device: auto'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"The device '{name}' was asked for but torch sees {torch.cuda.device_count()} GPU(s), from cuda:0 on.")
    return name


def local_folder(spec: str) -> str:
    """Turn a spec into what ``from_pretrained`` understands, converting a GGUF to a cached folder first.

    Raises:
        UserError: the file or package is not there.
    """
    if (gguf := _gguf_path(spec)) is not None:
        return str(_convert_gguf(gguf))
    if (spec.startswith((".", "/", "~")) or spec.count("/") > 1) and not Path(spec).expanduser().is_dir():
        raise UserError(f"There is no model folder at '{spec}'; check the path.")
    return str(Path(spec).expanduser()) if Path(spec).expanduser().is_dir() else spec


def model_config(spec: str) -> PretrainedConfig:
    """The shape of a model, without its weights; a GGUF is not converted for it.

    Raises:
        UserError: there is no such model.
    """
    try:
        if (gguf := _gguf_path(spec)) is not None and not _conversion_of(gguf).is_dir():
            return AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False).get_text_config()
        return AutoConfig.from_pretrained(local_folder(spec), trust_remote_code=False).get_text_config()
    except UserError:
        raise
    except Exception as error:  # a damaged file surfaces as whatever its reader runs into
        raise UserError(f"The model '{spec}' cannot be found: {first_line(error)}") from error


def load_model(
    spec: str,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    device_map: str | None = None,
    what: str | None = None,
    needs_head: bool = True,
    notes: list[str] | None = None,
    quantization: Quantization | None = None,
) -> PreTrainedModel:
    """Load a causal language model for reading: evaluation mode, no gradients; every tensor comes from its file.

    Args:
        device: "meta" reads no weights: shapes and names only, for ``check``.
        device_map: how accelerate spreads it over devices; without it, it is whole on ``device``.
        what: the model in words, to begin a sentence with.
        needs_head: whether anything reads its output head; else that may be missing.
        notes: filled with what was converted or left out, a sentence each.
        quantization: what to make of its numbers; without weights nothing.

    No code from a model repository is run (``trust_remote_code`` stays off) and only safetensors weights are read.

    Raises:
        UserError: the model is missing, cannot be read, or its files do not hold every tensor of it.
    """
    what = what or f"The model '{spec}'"
    folder = local_folder(spec)
    quantization = None if device == "meta" else quantization
    device_map = "meta" if device == "meta" else device_map if quantization is None else device_map or device
    try:
        model, said = load_checkpoint(folder, what, dtype, device_map, needs_head, quantization)
    except UserError:
        raise
    except Exception as error:  # a damaged file surfaces as whatever its reader runs into
        raise UserError(f"{what} could not be loaded: {first_line(error)}") from error
    if notes is not None:
        notes += said
    return (model if device_map else model.to(device)).eval().requires_grad_(False)


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Every tensor of a model by name, those too that a device_map has put away."""
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        return get_state_dict_offloaded_model(model)
    return model.state_dict()


def load_tokenizer(spec: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer that belongs to a model spec.

    Raises:
        UserError: there is none, or it is not a fast tokenizer (offsets into the text are needed for segments).
    """
    folder = local_folder(spec)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the same
        raise UserError(f"The tokenizer of '{spec}' could not be loaded: {first_line(error)}") from error
    names = sorted({"tokenizer.json", *getattr(tokenizer, "vocab_files_names", {}).values()})
    if Path(folder).is_dir() and not any((Path(folder) / name).exists() for name in names):
        # transformers then makes one of a few words for the kind of the model
        raise UserError(f"There is no tokenizer in '{spec}' (none of {', '.join(names)}); save it there with save_pretrained.")
    if not tokenizer.is_fast:
        raise UserError(f"The tokenizer of '{spec}' has no fast version, which segment marks need; convert it first.")
    return tokenizer


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over everything that decides how text becomes token ids."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def has_tokenizer(spec: str) -> bool:
    """Whether a local folder carries a tokenizer of its own; a hub id is taken to."""
    folder = Path(local_folder(spec))
    return not folder.is_dir() or any((folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json"))


def _gguf_path(spec: str) -> Path | None:
    """The GGUF file that a spec names, or None where it names something else."""
    if spec.startswith(PYPI_PREFIX):
        return _assemble_package(spec.removeprefix(PYPI_PREFIX))
    if not spec.endswith(".gguf"):
        return None
    if not Path(spec).is_file():
        raise UserError(f"There is no GGUF file at '{spec}'; check the path.")
    return Path(spec)


def _assemble_package(package: str) -> Path:
    module_name = package.replace("-", "_")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:  # the latter of what is no name of a package
        raise UserError(f"The package '{package}' is not installed; run: pip install {package}") from error
    if not hasattr(module, "assemble") or not hasattr(module, "MODEL_NAME"):
        raise UserError(f"The package '{package}' ships no GGUF model; give a hub id, a folder or a .gguf file as 'base'.")
    target = cache_dir() / "gguf" / module.MODEL_NAME
    with _one_at_a_time(target):
        try:
            return module.assemble(target)
        except FileExistsError:  # an assembly that was cut short: the package checks sha256 before it trusts a file
            return module.assemble(target, overwrite=True)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """What makes ``path`` in the cache inside this context, in whatever process, is alone.

    Raises:
        UserError: the cache cannot be written, and does not hold it yet.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        if not path.exists():
            raise UserError(
                f"The cache '{cache_dir()}' cannot be written: {reason(error)}; FEATURESHIFT_CACHE names another."
            ) from error
    try:
        yield
    finally:
        lock.release()


def _convert_gguf(path: Path) -> Path:
    """Convert a GGUF file to a safetensors folder in the cache, once for its content; reading one takes about a minute."""
    folder = _conversion_of(path)
    with _one_at_a_time(folder):
        return folder if folder.is_dir() else _write_converted(path, folder)


def _conversion_of(path: Path) -> Path:
    """Where the conversion of a GGUF file is, or would be."""
    key = hashlib.sha256(f"{CONVERSION}:{_content(path, identity(path))}".encode()).hexdigest()[:12]
    return cache_dir() / "converted" / f"{path.stem}-{key}"


@lru_cache
def _content(path: Path, _identity: Identity | None) -> str:
    """SHA-256 of a file: another file may take its path, of the same size and time."""
    return file_hash(path)


def _write_converted(path: Path, folder: Path) -> Path:
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    try:
        given = {"gguf_file": path.name, "trust_remote_code": False}
        model, report = AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **given
        )
        judged(model, report, f"The GGUF file '{path}'", needs_head=True)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **given)
        # The weights are plain float32 now, but transformers remembers the GGUF and refuses to save it otherwise.
        model.hf_quantizer = None
        model.is_quantized = False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(folder)
    except UserError:
        raise
    except Exception as error:  # a damaged file surfaces as whatever its reader runs into
        why = reason(error) if isinstance(error, OSError) and error.errno else first_line(error)
        raise UserError(f"The GGUF file '{path}' could not be converted: {why}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
