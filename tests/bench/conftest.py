"""`benchmarks/` is no part of the package; it is found at the root of the checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
