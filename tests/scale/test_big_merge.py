"""A real run of 26 layers x 65,536 features x 4 variants with a twin each: few tokens, dictionaries of full width."""

import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from sae_lens import SAE

from app import data
from store import open_store, verify
from tests.support import pages
from tests.support.world import World, make_adapter, make_base, residuals_of, sentences

pytestmark = pytest.mark.long

LAYERS, D_SAE, ACTIVE, VARIANTS, TOKENS = 26, 65_536, 32, 4, 1500
MOST_BYTES = 12e9


def make_wide_sae(folder: Path, base: Path, layer: int) -> Path:
    """A TopK dictionary of random directions: the ACTIVE nearest ones, at the scale that reconstructs best."""
    rows = residuals_of(base, layer, sentences(40, seed=2))
    mean, d_model = rows.mean(0), rows.shape[1]
    directions = torch.nn.functional.normalize(
        torch.randn(D_SAE, d_model, generator=torch.Generator().manual_seed(layer)), dim=1
    )
    found = ((rows - mean) @ directions.T).topk(ACTIVE, dim=1)
    together = torch.einsum("nk,nkd->nd", found.values.relu(), directions[found.indices])
    scale = float(((rows - mean) * together).sum() / together.square().sum())
    sae = SAE.from_dict(
        {
            "architecture": "topk", "k": ACTIVE, "d_in": d_model, "d_sae": D_SAE, "dtype": "float32", "device": "cpu",
            "apply_b_dec_to_input": True, "normalize_activations": "none",
            "metadata": {"hook_name": f"blocks.{layer}.hook_resid_post", "prepend_bos": True},
        }
    )  # fmt: skip
    with torch.no_grad():
        sae.W_dec.copy_(scale * directions)
        sae.W_enc.copy_(directions.T)
        sae.b_dec.copy_(mean)
        sae.b_enc.zero_()
    sae.save_model(folder)
    return folder


@pytest.fixture(scope="module")
def extracted(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    """(store, what the run printed, the peak of its memory in bytes)."""
    folder = tmp_path_factory.mktemp("wide")
    base = make_base(folder / "base", n_layers=LAYERS, d_model=64)
    variants = {
        f"variant-{number}": {"adapter": str(make_adapter(folder / f"adapter-{number}", base, seed=number, scale=0.02))}
        for number in range(VARIANTS)
    }
    saes = [{"path": str(make_wide_sae(folder / f"sae-{layer}", base, layer))} for layer in range(LAYERS)]
    config = world.config(
        folder, base=str(base), variants=variants, saes=saes, tokens=TOKENS, batch_tokens=1024, shard_tokens=750,
        contexts=10, controls=["rescaled"], twins=1, neighbours=0,
    )  # fmt: skip
    command = [sys.executable, "-m", "extract", "run", str(config), "--out", str(folder / "store")]
    with (folder / "log").open("w") as log:
        process = psutil.Popen(command, stdout=log, stderr=log)
        peak = 0
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                peak = max(peak, process.memory_info().rss)
            time.sleep(0.5)
    said = (folder / "log").read_text(encoding="utf-8")
    assert process.returncode == 0, said[-3000:]
    return folder / "store", said, peak


def test_it_is_merged_in_bounded_memory(extracted):
    folder, said, peak = extracted
    print(f"\n{said.splitlines()[-1]}\npeak of memory {peak / 1e9:.1f} GB, store {_size(folder) / 1e9:.2f} GB")
    assert verify(folder) == []
    with open_store(folder) as store:
        shape = store.sql("SELECT count(*) AS layers, sum(d_sae) AS features FROM layers")
        fired = store.sql("SELECT count(*) AS n FROM feature_stats WHERE domain = 'all'")["n"][0]
        labelled = store.sql("SELECT count(*) AS n FROM features WHERE label IS NOT NULL AND density > 0")["n"][0]
        print(f"{fired:,} rows of feature_stats of all domains, {labelled:,} labels")
        assert shape.to_dict("records") == [{"layers": LAYERS, "features": LAYERS * D_SAE}]
        assert fired > 100_000 and labelled > 50_000
        of_twins = store.sql("SELECT count(*) AS n FROM layer_metrics WHERE control = 'twin_1' AND metric = 'n_halved'")["n"][0]
        assert of_twins == LAYERS * VARIANTS
    assert peak < MOST_BYTES


@pytest.mark.parametrize("view", ["overview", "layers", "features", "suppressed", "compare", "documents"])
def test_its_pages_are_drawn(extracted, monkeypatch, view):
    monkeypatch.setenv(data.VARIABLE, str(extracted[0]))
    app = pages.open_page(view)
    assert not app.exception and not app.error


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
