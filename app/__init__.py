"""The app: what is looked at in a browser."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The repository's folder."""
