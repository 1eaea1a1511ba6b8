"""The demo that ships: its configurations, and the recipes of what they read."""

from typing import Literal, get_args

from extract import ROOT

DEMO_CONFIG = ROOT / "extract" / "demo" / "configs" / "demo.yaml"
BENCH_CONFIG = DEMO_CONFIG.with_name("bench.yaml")

Adapter = Literal["maths", "code", "dialogue", "safety", "safety-seed2"]
ADAPTERS: tuple[Adapter, ...] = get_args(Adapter)
"""The fine-tuned variants."""
