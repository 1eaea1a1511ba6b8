"""Loading dictionaries (SAEs) through sae-lens, and what the extractor asks of one: sparse codes and reconstructions."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from sae_lens import SAE
from transformers import PretrainedConfig

from extract.config import SaeConfig
from extract.hooks import layer_of_hook
from store.errors import UserError, first_line

# torch prints this once for every process that multiplies a CSR matrix, which is all that is done with one here.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


DECODES_ALIKE = {torch.float32: 1e-3, torch.bfloat16: 2e-2}
"""How far sae.decode may be from codes x W_dec + b_dec in float64, as a share: what its dtype rounds."""


@dataclass(frozen=True)
class SparseCodes:
    """Non-zero raw codes of some tokens, in (token, feature) order.

    Attributes:
        row: int64 [nnz], token.
        feature: int64 [nnz].
        value: float32 [nnz], raw code as the dictionary gives it.
        n_rows: number of tokens.
    """

    row: torch.Tensor
    feature: torch.Tensor
    value: torch.Tensor
    n_rows: int

    def of(self, chosen: slice | torch.Tensor) -> "SparseCodes":
        """Some of the codes, of the same tokens."""
        return SparseCodes(self.row[chosen], self.feature[chosen], self.value[chosen], self.n_rows)

    def only(self, kept: torch.Tensor) -> "SparseCodes":
        """The codes of some tokens, renumbered; kept: int64, ascending."""
        number = torch.full((self.n_rows,), -1, dtype=torch.int64)
        number[kept] = torch.arange(len(kept))
        row = number[self.row]
        here = row >= 0
        return SparseCodes(row[here], self.feature[here], self.value[here], len(kept))


@dataclass(frozen=True)
class RoomyCodes:
    """Raw codes in arrays longer than needed, so that nobody has to wait for the device to say how many there are.

    Attributes:
        codes: after the last real one, zeros of feature 0 of the last token; where the room was too small, cut off.
        count: int64 [], how many are real, or would be.
        is_finite, is_positive: bool [], of the real ones.
    """

    codes: SparseCodes
    count: torch.Tensor
    is_finite: torch.Tensor
    is_positive: torch.Tensor


class Dictionary:
    """One SAE at one layer's ``resid_post``.

    Attributes:
        sae: the sae-lens module, as loaded.
        layer: decoder block whose output it reads.
        notes: what of its settings was done for it that the user should know, a sentence each.
        decoder: float64 [d_sae, d_model]: the direction that one unit of raw code adds to the reconstruction.
        decoder_norm: float64 [d_sae]: norms of its rows; raw code x norm = scaled activation.
    """

    def __init__(self, sae: SAE, name: str) -> None:
        self.sae = sae.eval().requires_grad_(False)
        self.name = name
        self.notes: list[str] = []
        metadata = sae.cfg.metadata
        self.hook_name: str = metadata.get("hf_hook_name") or metadata.get("hook_name") or ""
        if metadata.get("hook_head_index") is not None:
            raise UserError(f"The dictionary '{name}' reads a single attention head; use one trained on resid_post.")
        try:
            self.layer = layer_of_hook(self.hook_name)
        except UserError as error:
            raise UserError(f"The dictionary '{name}' cannot be used: {error}") from error
        decoder = sae.W_dec.detach().double()
        if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
            # Such a dictionary's codes are already multiplied by the decoder's norm, and its decoder divides by it.
            decoder = decoder / decoder.norm(dim=1, keepdim=True)
        self.decoder = decoder
        self.decoder_norm = decoder.norm(dim=1)

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.sae.cfg.d_sae

    @property
    def d_model(self) -> int:
        """Width of the residual stream that it reads."""
        return self.sae.cfg.d_in

    @property
    def architecture(self) -> str:
        """sae-lens architecture."""
        return self.sae.cfg.architecture()

    @property
    def prepend_bos(self) -> bool:
        """Whether it was trained on windows that start with BOS (true where it does not say)."""
        value = self.sae.cfg.metadata.get("prepend_bos")
        return True if value is None else bool(value)

    @property
    def neuronpedia(self) -> str | None:
        """'model/source' on neuronpedia.org, where it has one."""
        return self.sae.cfg.metadata.get("neuronpedia_id")

    @property
    def unit_decoder(self) -> torch.Tensor:
        """float64 [d_sae, d_model]: the decoder's rows at unit length; a row of zeros stays one."""
        return torch.nn.functional.normalize(self.decoder, dim=1)

    @property
    def flips_at(self) -> torch.Tensor | str | None:
        """Where a feature begins to fire: float64 [d_sae] raw thresholds (JumpReLU), ``"kept"`` (TopK keeps the largest of a
        token), or None where any activation above zero fires."""
        threshold = getattr(self.sae, "threshold", None)
        if threshold is not None:
            return threshold.detach().double()
        return "kept" if "topk" in self.architecture else None

    def digest(self) -> str:
        """SHA-256 over configuration and weights."""
        return tensors_digest(self.sae.state_dict(), json.dumps(self.sae.cfg.to_dict(), sort_keys=True, default=str))

    @torch.inference_mode()
    def encode(self, residuals: torch.Tensor) -> tuple[SparseCodes, torch.Tensor]:
        """Sparse codes and reconstruction of residuals.

        Args:
            residuals: float32 [n_tokens, d_model].

        Returns:
            The codes, equal to ``sae.encode(residuals)``, and the reconstruction, float64 [n_tokens, d_model], decoded
            from them in float64 (``sae.decode`` does the same in the module's dtype).

        Raises:
            UserError: a code is negative or not finite.
        """
        dense = self.sae.encode(residuals)
        row, feature = dense.nonzero(as_tuple=True)
        value = dense[row, feature].float()
        self.check(bool(torch.isfinite(value).all()), not len(value) or bool(value.min() >= 0))
        indptr = torch.zeros(len(residuals) + 1, dtype=torch.int64, device=row.device)
        indptr[1:] = torch.bincount(row, minlength=len(residuals)).cumsum(0)
        codes = SparseCodes(row, feature, value, len(residuals))
        return codes, self._decode(indptr, codes)

    @torch.inference_mode()
    def encode_into(self, room: int, residuals: torch.Tensor) -> tuple[RoomyCodes, torch.Tensor]:
        """As :meth:`encode`, without waiting for the device, and without its check; at most ``room`` codes.

        Where the codes are more, they and the reconstruction are of no use.
        """
        dense = self.sae.encode(residuals)
        of_row = (dense != 0).sum(1)
        count = of_row.sum()
        place = torch.nonzero_static(dense, size=room)
        is_real = torch.arange(room, device=dense.device) < count
        row = torch.where(is_real, place[:, 0], max(0, len(residuals) - 1))
        feature = torch.where(is_real, place[:, 1], 0)
        value = torch.where(is_real, dense[row, feature].float(), 0.0)
        indptr = torch.zeros(len(residuals) + 1, dtype=torch.int64, device=dense.device)
        indptr[1:] = of_row.cumsum(0).clamp_max(room)
        indptr[-1] = room
        codes = SparseCodes(row, feature, value, len(residuals))
        found = RoomyCodes(codes, count, torch.isfinite(value).all(), (value >= 0).all())
        return found, self._decode(indptr, codes)

    def check(self, is_finite: bool, is_positive: bool) -> None:
        """Refuse codes that nothing here means anything for.

        Raises:
            UserError: they are not finite, or some are negative.
        """
        if not (is_finite and is_positive):
            kind = "negative" if is_finite else "NaN or infinite"
            raise UserError(f"The dictionary '{self.name}' gives {kind} codes at layer {self.layer}, which cannot be compared.")

    def _decode(self, indptr: torch.Tensor, codes: SparseCodes) -> torch.Tensor:
        """Reconstructions, float64 [n_tokens, d_model]; indptr: int64 [n_tokens + 1], where each token's codes begin."""
        matrix = torch.sparse_csr_tensor(
            indptr, codes.feature, codes.value.double(), size=(codes.n_rows, self.d_sae), check_invariants=False
        )
        pre = matrix @ self.decoder + self.sae.b_dec.double()
        # Undoes a run-time normalisation, whose per-token factors sae.encode has just left on the module.
        return self.sae.run_time_activation_norm_fn_out(pre)


@dataclass(frozen=True)
class SelfTest:
    """How well a dictionary describes the base on the pilot's tokens.

    Attributes:
        fvu: share of the residuals' variance that it leaves unexplained.
        l0: mean active features a token.
        median_code: median non-zero raw code.
        median_activation: median non-zero scaled activation.
    """

    fvu: float
    l0: float
    median_code: float
    median_activation: float


def self_test(dictionary: Dictionary, residuals: torch.Tensor) -> SelfTest:
    """Reconstruct real residuals of the base, and refuse a dictionary that cannot.

    Args:
        residuals: float32 [n_tokens, d_model], base residuals of tokens that count.

    Raises:
        UserError: it reconstructs worse than the mean does, never fires, or does not decode as its codes times W_dec.
    """
    codes, reconstruction = dictionary.encode(residuals)
    exact = residuals.double()
    error2 = (exact - reconstruction).square().sum()
    variance = (exact - exact.mean(0)).square().sum()
    fvu = float(error2 / variance)
    if len(codes.value) == 0 or not fvu < 1:
        raise UserError(
            f"The dictionary '{dictionary.name}' does not describe the base at layer {dictionary.layer}: "
            f"fvu {fvu:.2f} on {len(residuals)} tokens (the mean alone has 1.00) with {len(codes.value) / len(residuals):.1f} "
            "active features a token; check that it was trained on this model, layer and hook."
        )
    sample = residuals[:64]
    expected = dictionary.sae.decode(dictionary.sae.encode(sample)).double()
    got = dictionary.encode(sample)[1]
    if (expected - got).norm() > DECODES_ALIKE[dictionary.sae.W_dec.dtype] * expected.norm():
        raise UserError(
            f"The dictionary '{dictionary.name}' (architecture {dictionary.architecture}) does not decode as codes x W_dec + "
            "b_dec, which every metric here assumes; use another architecture."
        )
    scaled = codes.value.double() * dictionary.decoder_norm[codes.feature]
    return SelfTest(fvu, len(codes.value) / len(residuals), float(codes.value.median()), float(scaled.median()))


def load_dictionaries(
    configs: Sequence[SaeConfig], shape: PretrainedConfig, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> list[Dictionary]:
    """Load every dictionary, in layer order.

    Args:
        shape: the base's.
        dtype: of their weights. Sums of products are float32 for bfloat16 too.

    Raises:
        UserError: one is missing, has another width than the model, reads another hook or a layer that the model does not
            have, or shares its layer.
    """
    loaded: dict[int, Dictionary] = {}
    for config in configs:
        dictionary = Dictionary(_load(config, device, dtype), config.name)
        if dictionary.d_model != shape.hidden_size:
            raise UserError(
                f"The dictionary '{config.name}' reads residuals of width {dictionary.d_model}, but the base's are "
                f"{shape.hidden_size} wide; it belongs to another model."
            )
        if dictionary.layer >= shape.num_hidden_layers:
            raise UserError(
                f"The dictionary '{config.name}' reads layer {dictionary.layer}, but the base has layers 0 to "
                f"{shape.num_hidden_layers - 1}; it belongs to another model."
            )
        if other := loaded.get(dictionary.layer):
            raise UserError(
                f"The dictionaries '{other.name}' and '{config.name}' both read layer {dictionary.layer}; a store has one "
                "dictionary a layer, so make a second run for the other."
            )
        loaded[dictionary.layer] = dictionary
    return [loaded[layer] for layer in sorted(loaded)]


def load_replicas(
    configs: Sequence[SaeConfig],
    dictionaries: Sequence[Dictionary],
    shape: PretrainedConfig,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[Dictionary]:
    """Load second dictionaries, in layer order; dtype: as of :func:`load_dictionaries`.

    Raises:
        UserError: as :func:`load_dictionaries`; one reads a layer that the run has no dictionary of; it is that dictionary.
    """
    first = {dictionary.layer: dictionary for dictionary in dictionaries}
    loaded = load_dictionaries(configs, shape, device, dtype)
    for replica in loaded:
        if replica.layer not in first:
            raise UserError(f"The replica '{replica.name}' reads layer {replica.layer}, of which the run has no dictionary.")
        if replica.digest() == first[replica.layer].digest():
            raise UserError(f"The replica '{replica.name}' is the dictionary of layer {replica.layer} itself; give another.")
    return loaded


def _load(config: SaeConfig, device: str, dtype: torch.dtype) -> SAE:
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False  # it would sum in bfloat16
    name = str(dtype).removeprefix("torch.")
    try:
        if config.path is None:
            return SAE.from_pretrained(config.release, config.id, device=device, dtype=name)
        if not (Path(config.path) / "cfg.json").is_file():
            raise UserError(f"There is no dictionary at '{config.path}' (no cfg.json); give a folder that sae-lens saved.")
        return SAE.load_from_disk(config.path, device=device, dtype=name)
    except UserError:
        raise
    except Exception as error:  # sae-lens raises many kinds for a damaged or unknown dictionary
        raise UserError(f"The dictionary '{config.path or config.name}' could not be loaded: {first_line(error)}") from error


def tensors_digest(tensors: dict[str, torch.Tensor], extra: str = "") -> str:
    """SHA-256 over named tensors: names, types, shapes and bytes."""
    total = hashlib.sha256(extra.encode())
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().cpu().contiguous()
        total.update(f"{name}{flat.dtype}{tuple(flat.shape)}".encode())
        total.update(flat.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
