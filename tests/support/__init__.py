"""What several tests make or ask."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
"""The repository's folder."""
