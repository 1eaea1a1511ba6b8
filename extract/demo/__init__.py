"""The demo that ships: its configurations, and the recipes of what they read."""

from typing import Literal, get_args

from extract import ROOT

DEMO_CONFIG = ROOT / "extract" / "demo" / "configs" / "demo.yaml"
BENCH_CONFIG = DEMO_CONFIG.with_name("bench.yaml")

Adapter = Literal[
    "maths", "maths-seed2", "code", "code-seed2", "dialogue", "dialogue-seed2", "safety", "safety-seed2", "safety-seed3"
]
ADAPTERS: tuple[Adapter, ...] = get_args(Adapter)
"""The fine-tuned variants: for each task two runs of its recipe, for safety three."""


def task_of(adapter: str) -> str:
    """The task that an adapter is a run of: 'safety' of 'safety-seed2'."""
    return adapter.partition("-seed")[0]
