"""What several tests make or ask."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
"""The repository's folder."""
EXAMPLES = int(os.environ.get("FEATURESHIFT_EXAMPLES", "25"))
"""How many examples of hypothesis a property is tried on; `make test-all` asks for more."""
