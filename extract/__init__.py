"""The extractor: runs models and writes stores."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The repository's folder."""
