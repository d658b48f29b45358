"""Writes src/explain/colormaps/*.rgb: matplotlib's colour tables, 256 RGB triples each.

usage: python scripts/make_colormaps.py     (needs matplotlib; the committed files came from 3.11.2)
"""
from pathlib import Path

import matplotlib
import numpy as np

OUT = Path(__file__).parent.parent / "src/explain/colormaps"
for name in ("jet", "turbo", "viridis"):
    table = matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3]
    (OUT / f"{name}.rgb").write_bytes(np.ascontiguousarray(table, dtype=np.uint8).tobytes())
print("matplotlib", matplotlib.__version__)
