"""Loading dictionaries (SAEs) through sae-lens, and what the extractor asks of one: sparse codes and reconstructions."""

import filecmp
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE
from sae_lens.saes.transcoder import Transcoder
from transformers import PretrainedConfig

from extract.models.digests import tensors_digest
from extract.models.layout import Layout, layout_of
from extract.models.sites import Site
from extract.saes.codes import PaddedCodes, SparseCodes
from extract.saes.conventions import is_centred, said, trained_on
from extract.saes.reading import Read
from store.errors import UserError
from store.points import ADDED, STREAM

# torch prints this once for every process that multiplies a CSR matrix, which is all that is done with one here.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


class Dictionary:
    """One SAE at one site of a model, or one transcoder, which reads at one and writes at another.

    Args:
        settings: as its file says them, where sae-lens dropped some.
        centred: whether it reads the residual less its mean over d_model.
        layout: of the model that it is read on; None: hook names mean what they usually do.

    Attributes:
        sae: the sae-lens module, as loaded.
        site: what of a model it reconstructs: all that is said of its layer but codes is of this.
        reads: what its codes are of; the site itself but of a transcoder.
        notes: what of its settings was done for it that the user should know, a sentence each.
        decoder: float64 [d_sae, width]: the direction that one unit of raw code adds to the reconstruction.
        decoder_norm: float64 [d_sae]: norms of its rows; raw code x norm = scaled activation.
        file, stored, folded: as of :class:`extract.saes.reading.Read`.
    """

    def __init__(
        self,
        sae: SAE,
        name: str,
        settings: Mapping[str, Any] | None = None,
        centred: bool = False,
        notes: Sequence[str] = (),
        layout: Layout | None = None,
    ) -> None:
        self.sae = sae.eval().requires_grad_(False)
        self.name = name
        self.settings = sae.cfg.to_dict() if settings is None else settings
        self.notes = list(notes)
        self.file: Path | None = None
        self.stored: str | None = None
        self.folded = ""
        sae.turn_off_forward_pass_hook_z_reshaping()  # heads stand side by side in what is read here
        metadata = sae.cfg.metadata
        self.hook_name: str = metadata.get("hf_hook_name") or metadata.get("hook_name") or ""
        writes: str = metadata.get("hf_hook_name_out") or metadata.get("hook_name_out") or self.hook_name
        try:
            self.reads = Site.of_hook(self.hook_name, layout)
            self.site = Site.of_hook(writes if self.is_transcoder else self.hook_name, layout)
        except UserError as error:
            raise UserError(f"The dictionary '{name}' cannot be used: {error}") from error
        if self.reads.layer != self.site.layer:
            raise UserError(
                f"The dictionary '{name}' reads layer {self.reads.layer} and writes to layer {self.site.layer}; give one of a "
                "single layer."
            )
        self._is_of_centred = centred
        decoder = sae.W_dec.detach().double()
        if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
            # Such a dictionary's codes are already multiplied by the decoder's norm, and its decoder divides by it.
            decoder = torch.nn.functional.normalize(decoder, dim=1)
        self.decoder = decoder
        self.decoder_norm = decoder.norm(dim=1)

    @classmethod
    def of(cls, read: Read, name: str, shape: PretrainedConfig) -> "Dictionary":
        """What was read, for a base of some shape.

        Raises:
            UserError: it reads no point of such a base, or one of which it is not known what it comes to there.
        """
        layout = layout_of(shape)
        dictionary = cls(read.sae, name, read.settings, is_centred(name, read.settings, shape), read.notes, layout)
        for site in (dictionary.reads, dictionary.site):
            layout.check(site.layer, site.point, f"The dictionary '{name}'")
        dictionary.file, dictionary.stored, dictionary.folded = read.file, read.stored, read.folded
        return dictionary

    @property
    def centred(self) -> bool:
        """Whether :meth:`prepare` takes away a mean at its site."""
        return self.centres(self.site)

    def centres(self, site: Site) -> bool:
        """Whether it was trained on a model in which what is at a site has no mean: what is written to the stream, and that."""
        return self._is_of_centred and site.point in (*STREAM, *ADDED)

    @property
    def layer(self) -> int:
        """Number of the decoder block that its site is of."""
        return self.site.layer

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.sae.cfg.d_sae

    @property
    def is_transcoder(self) -> bool:
        """Whether it writes to another point than it reads."""
        return isinstance(self.sae, Transcoder)

    @property
    def d_model(self) -> int:
        """Width of what it reconstructs."""
        return self.sae.cfg.d_out if self.is_transcoder else self.sae.cfg.d_in

    @property
    def d_in(self) -> int:
        """Width of what it reads."""
        return self.sae.cfg.d_in

    @property
    def architecture(self) -> str:
        """sae-lens architecture."""
        return self.sae.cfg.architecture()

    @property
    def prepend_bos(self) -> bool:
        """Whether it was trained on windows that start with BOS (true where it does not say)."""
        value = said(self.settings, "prepend_bos")
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
            return threshold.detach().double().clamp_min(0)  # below zero nothing fires
        return "kept" if "topk" in self.architecture else None

    def digest(self) -> str:
        """SHA-256 over configuration and weights."""
        return tensors_digest(self.sae.state_dict(), json.dumps(self.sae.cfg.to_dict(), sort_keys=True, default=str))

    def is_same(self, other: "Dictionary") -> bool:
        """Whether it is the other one; on "meta", by settings and the bytes of their files, or by name where there is none."""
        if not self.sae.W_dec.is_meta:
            return self.digest() == other.digest()
        if self.settings != other.settings:
            return False
        if self.file is None or other.file is None:
            return self.name == other.name
        return filecmp.cmp(self.file, other.file, shallow=False)

    def facts(self) -> dict[str, Any]:
        """What it is and what it is fed, for the manifest; None where it does not say."""
        cfg = self.sae.cfg
        return {
            "architecture": self.architecture,
            "point": self.site.point,
            "reads": self.reads.point,
            "centred": self.centred,
            "normalize_activations": cfg.normalize_activations,
            "folded": self.folded or None,
            "apply_b_dec_to_input": bool(cfg.apply_b_dec_to_input),
            "model_name": trained_on(self.settings),
            **{name: said(self.settings, name) for name in ("prepend_bos", "context_size")},
            "stored_dtype": self.stored,
            "dtype": str(self.sae.W_dec.dtype).removeprefix("torch."),
        }

    def prepare(self, residuals: torch.Tensor, site: Site | None = None) -> torch.Tensor:
        """What the dictionary was trained on, of what is read at a site, [..., width]: that itself, or that less its mean.

        All that is said of a layer is of this: pilot, sizes, controls, codes.
        """
        is_centred = self.centres(site or self.site)
        return residuals - residuals.mean(-1, keepdim=True) if is_centred else residuals

    def direction(self, feature: int) -> torch.Tensor:
        """float64 [d_model]: the unit vector along which a feature writes, in what :meth:`prepare` gives.

        Without a mean it changes a residual, and the same residual less its mean, by the same.
        """
        written = self.prepare(self.decoder[feature])
        return written / (written.norm() if self.centred else self.decoder_norm[feature])

    @torch.inference_mode()
    def writes(self, features: Sequence[int], residuals: torch.Tensor) -> torch.Tensor:
        """[..., features]: how much of its :meth:`direction` each of some features writes to each reconstruction.

        Args:
            residuals: float32 [..., d_in], what it reads, as :meth:`prepare` gives them.
        """
        chosen = list(features)
        codes = self.sae.encode(residuals.reshape(-1, residuals.shape[-1]))[:, chosen]
        norm = self.prepare(self.decoder[chosen]).norm(dim=1) if self.centred else self.decoder_norm[chosen]
        amount = codes * norm
        # A normalisation of each token leaves its numbers on the module until the token is decoded.
        if self.sae.cfg.normalize_activations == "layer_norm":
            amount = amount * self.sae.ln_std[:, :1]
        elif self.sae.cfg.normalize_activations == "constant_norm_rescale":
            amount = amount / self.sae.x_norm_coeff[:, :1]
        return amount.reshape(*residuals.shape[:-1], len(chosen))

    @torch.inference_mode()
    def encode(self, residuals: torch.Tensor) -> tuple[SparseCodes, torch.Tensor]:
        """Sparse codes of residuals, and the reconstruction that they make.

        Args:
            residuals: float32 [n_tokens, d_in], what it reads, as :meth:`prepare` gives them.

        Returns:
            The codes, equal to ``sae.encode(residuals)``, and the reconstruction of what is at :attr:`site`, float64
            [n_tokens, d_model], decoded from them in float64 (``sae.forward`` does the same in the module's dtype).

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
        return codes, self._decode(indptr, codes, residuals)

    @torch.inference_mode()
    def encode_padded(self, residuals: torch.Tensor, capacity: int) -> tuple[PaddedCodes, torch.Tensor]:
        """As :meth:`encode`, without waiting for the device, and without its check; at most ``capacity`` codes.

        Where the codes are more, they and the reconstruction are of no use.
        """
        dense = self.sae.encode(residuals)
        of_row = (dense != 0).sum(1)
        count = of_row.sum()
        place = torch.nonzero_static(dense, size=capacity)
        is_real = torch.arange(capacity, device=dense.device) < count
        row = torch.where(is_real, place[:, 0], max(0, len(residuals) - 1))
        feature = torch.where(is_real, place[:, 1], 0)
        value = torch.where(is_real, dense[row, feature].float(), 0.0)
        indptr = torch.zeros(len(residuals) + 1, dtype=torch.int64, device=dense.device)
        indptr[1:] = of_row.cumsum(0).clamp_max(capacity)
        indptr[-1] = capacity
        codes = SparseCodes(row, feature, value, len(residuals))
        found = PaddedCodes(codes, count, torch.isfinite(value).all(), (value >= 0).all())
        return found, self._decode(indptr, codes, residuals)

    def check(self, is_finite: bool, is_positive: bool) -> None:
        """Refuse codes that nothing here means anything for.

        Raises:
            UserError: they are not finite, or some are negative.
        """
        if not (is_finite and is_positive):
            kind = "negative" if is_finite else "NaN or infinite"
            raise UserError(f"The dictionary '{self.name}' gives {kind} codes at layer {self.layer}, which cannot be compared.")

    def _decode(self, indptr: torch.Tensor, codes: SparseCodes, residuals: torch.Tensor) -> torch.Tensor:
        """Reconstructions, float64 [n_tokens, d_model].

        Args:
            indptr: int64 [n_tokens + 1], where each token's codes begin.
            residuals: that they are of, which some transcoders add a linear map of.
        """
        matrix = torch.sparse_csr_tensor(
            indptr, codes.feature, codes.value.double(), size=(codes.n_rows, self.d_sae), check_invariants=False
        )
        pre = matrix @ self.decoder
        if self.architecture != "matching_pursuit" or self.sae.cfg.apply_b_dec_to_input:
            pre = pre + self.sae.b_dec.double()
        if self.is_transcoder:
            skip = getattr(self.sae, "W_skip", None)
            return pre if skip is None else pre + residuals.double() @ skip.double().T
        # Undoes a run-time normalisation, whose per-token factors sae.encode has just left on the module.
        return self.sae.run_time_activation_norm_fn_out(pre)
