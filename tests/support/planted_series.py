"""A store of checkpoints by the real extractor, whose onsets are known by construction: planted losses of growing strength.

In the series `losses` LASTING are taken a quarter at step 1, which is not material, and nearly wholly from step 2 on; PASSING
at step 2 alone; its second run does the same and OWN of its own, which is no finding. Nothing is planted in the rest: `noise`
adds random directions of growing length, `random` are adapters of random weights, found by a glob; both have second runs.
"""

from pathlib import Path

from extract.__main__ import main
from tests.support.world import World, make_adapter, one_thread

LAYER = 2
LASTING, PASSING = tuple(range(0, 48, 2)), (48, 50)  # of 20 claims one may be false, so that it takes more than 20 to claim any
OWN = (54, 58)
TAKEN = {0: (0.0, LASTING), 1: (0.25, LASTING), 2: (0.9, LASTING + PASSING), 4: (1.0, LASTING)}
LENGTHS = {1: 0.1, 2: 0.5}
SCALES = {10: 0.05, 200: 0.15}


def make_planted_series(world: World, folder: Path) -> Path:
    """Extract it by the command line; returns the store."""
    variants = {}
    for series, own in zip(("losses", "losses-b"), OWN, strict=True):
        for step, (share, features) in TAKEN.items():
            edit = {"layer": LAYER, "feature": [*features, own], "ablate": True, "strength": share}
            variants[f"{series}-{step}"] = {"planted": edit, "series": series, "step": step}
            variants[f"{series}-{step}"] |= {} if series == "losses" else {"replicate_of": f"losses-{step}"}
    for at, series in enumerate(("noise", "noise-b")):
        for step, length in LENGTHS.items():
            edit = {"layer": LAYER, "feature": 2 * step + at, "isotropic": True, "strength": length}
            variants[f"{series}-{step}"] = {"planted": edit, "series": series, "step": step}
            variants[f"{series}-{step}"] |= {} if series == "noise" else {"replicate_of": f"noise-{step}"}
    for at, run in enumerate(("one", "two")):
        for step, scale in SCALES.items():
            make_adapter(folder / run / f"checkpoint-{step}", world.base, seed=step + at, scale=scale)
    variants["random-*"] = {"adapter": str(folder / "one" / "checkpoint-*")}
    variants["random-b-*"] = {"adapter": str(folder / "two" / "checkpoint-*"), "replicate_of": "random-*"}
    config = world.config(
        folder, variants=variants, saes=[{"path": str(world.saes[LAYER])}], controls=["rescaled"], twins=2, promoted_tokens=0
    )
    with one_thread():
        assert main(["run", str(config), "--out", str(folder / "store")]) == 0
    return folder / "store"
