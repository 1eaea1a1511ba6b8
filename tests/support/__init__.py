"""What the tests share: small worlds and stores, browsers, references."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
"""The project's root."""
