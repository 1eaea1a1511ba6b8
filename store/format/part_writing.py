"""Writing a part of a store's codes; its layout stands in :mod:`store.format.codes`."""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from store.errors import UserError
from store.files import partial_of, put_in_place
from store.format.codes import Codes, LayerCodes
from store.format.part_guard import CHUNK

UINT16_FEATURES = 65_536  # a dictionary up to this size has uint16 feature indexes
LIBVER = ("v110", "v110")
"""Of the file format: any HDF5 since 1.10 (2016) reads it, and unlike the older one it has checksums over all that says where
values stand; the compressed values have their own. So a damaged part is never read as something else."""
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


def write_part(path: Path, part: int, layers: Mapping[int, LayerCodes], feature_index: bool = True) -> None:
    """Write one part: whole and on disk, or not at all.

    Args:
        feature_index: whether to write by_feature too; without it the part is half the size, and reading a feature means
            looking through all codes of its model and layer.

    Raises:
        UserError: a code is not finite or does not fit float16; nothing is left behind.
        OSError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        with h5py.File(partial, "w", libver=LIBVER) as file:
            file.attrs["part"] = part
            file.attrs["n_tokens"] = len(next(iter(layers.values())).counted)
            for layer, kept in sorted(layers.items()):
                group = file.create_group(f"layer_{layer}")
                group.attrs["d_sae"] = kept.d_sae
                group.attrs["code_scale"] = kept.code_scale
                _write(group, "counted", kept.counted)
                for model, codes in kept.codes.items():
                    where = f"layer {layer}, model '{model}'"
                    _write_codes(group.create_group(f"codes/{model}"), codes, kept, where, feature_index)
        put_in_place(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _write_codes(group: h5py.Group, codes: Codes, kept: LayerCodes, where: str, feature_index: bool) -> None:
    value = _compact_values(codes.value, kept.code_scale, where)
    index_type = np.uint16 if kept.d_sae <= UINT16_FEATURES else np.uint32
    by_token = group.create_group("by_token")
    _write(by_token, "indptr", codes.indptr.astype(np.uint32))
    _write(by_token, "index", codes.index.astype(index_type))
    _write(by_token, "value", value)
    if not feature_index:
        return
    order = np.argsort(codes.index.astype(index_type), kind="stable")
    by_feature = group.create_group("by_feature")
    counts = np.bincount(codes.index, minlength=kept.d_sae)
    _write(by_feature, "indptr", np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32))
    _write(by_feature, "row", codes.rows[order].astype(np.uint16))
    _write(by_feature, "value", value[order])


def _compact_values(value: np.ndarray, code_scale: float, where: str) -> np.ndarray:
    """float16 of value / code_scale; an active feature stays active, so the smallest number stands in for zero."""
    with np.errstate(over="ignore"):
        compact = np.maximum(value / np.float32(code_scale), SMALLEST).astype(np.float16)
    if not np.isfinite(compact).all():
        worst = float(np.nanmax(value)) if len(value) else float("nan")
        raise UserError(
            f"A code at {where} does not fit the store (largest {worst:.4g}, scale {code_scale:.4g}): the dictionary gives "
            "activations 65,504 times its median or not finite; check that model and dictionary belong together."
        )
    return compact


def _write(group: h5py.Group, name: str, data: np.ndarray) -> None:
    if len(data) == 0:
        group.create_dataset(name, data=data)
        return
    group.create_dataset(name, data=data, chunks=(min(CHUNK, len(data)),), compression="gzip", compression_opts=4, shuffle=True)
