"""A small dictionary's weights, the files that each library keeps them in, and its codes by formulas in numpy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.numpy import save_file

from extract.saes.reading import Read

Write = Callable[[Path, str], None]
"""(folder of a repository, a dictionary's folder within it) -> puts files there."""

D_IN, D_SAE, K = 8, 20, 4
SIZES = {"d_in": D_IN, "d_sae": D_SAE}
RNG = np.random.default_rng(0)
W_ENC, W_DEC, W_SKIP = (RNG.normal(size=shape).astype(np.float32) for shape in ((D_IN, D_SAE), (D_SAE, D_IN), (D_IN, D_IN)))
B_ENC, B_DEC, R_MAG, B_MAG = (RNG.normal(size=size).astype(np.float32) for size in (D_SAE, D_IN, D_SAE, D_SAE))
THRESHOLD = RNG.uniform(0.5, 3, D_SAE).astype(np.float32)
X = (RNG.normal(size=(50, D_IN)) * 3 + 1).astype(np.float32)
CENTRED = (X - B_DEC) @ W_ENC
LINEAR = {"encoder.weight": W_ENC.T, "decoder.weight": W_DEC.T}
PLAIN = {"W_enc": W_ENC, "W_dec": W_DEC, "b_enc": B_ENC, "b_dec": B_DEC}


def relu(pre: np.ndarray) -> np.ndarray:
    return np.maximum(pre, 0)


def jump(pre: np.ndarray, threshold: np.ndarray | float = THRESHOLD) -> np.ndarray:
    return pre * (pre > threshold)


def topk(pre: np.ndarray) -> np.ndarray:
    least = np.sort(pre, axis=1)[:, -K][:, None]
    return relu(np.where(pre >= least, pre, 0))


def gated(x: np.ndarray) -> np.ndarray:
    inner = x @ W_ENC
    return (inner + B_ENC > 0) * relu(np.exp(R_MAG) * inner + B_MAG)


def in_safetensors(file: str, **tensors: np.ndarray) -> Write:
    def write(root: Path, folder: str) -> None:
        path = root / file.format(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.copy() for name, tensor in tensors.items()}, path)

    return write


def in_pickle(file: str, **tensors: np.ndarray) -> Write:
    def write(root: Path, folder: str) -> None:
        path = root / file.format(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({name: torch.tensor(np.asarray(tensor).copy()) for name, tensor in tensors.items()}, path)

    return write


def in_npz(**tensors: np.ndarray) -> Write:
    def write(root: Path, folder: str) -> None:
        (root / folder).mkdir(parents=True, exist_ok=True)
        np.savez(root / folder / "params.npz", **tensors)

    return write


def with_text(file: str, content: Any, *more: Write) -> Write:
    def write(root: Path, folder: str) -> None:
        path = root / file.format(folder.removesuffix(".pt"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content))
        for one in more:
            one(root, folder)

    return write


def check_codes(read: Read, codes: np.ndarray, decoded: np.ndarray) -> None:
    sae, x = read.sae, torch.tensor(X)
    with torch.inference_mode():
        found = sae.encode(x)
        out = sae(x) if hasattr(sae, "W_skip") else sae.decode(found)
    assert (codes > 0).any() and (codes == 0).any()
    np.testing.assert_allclose(found, codes, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(out, decoded, rtol=1e-4, atol=1e-3)
