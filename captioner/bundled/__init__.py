"""The tiny captioner that comes with the package; README.md beside this file is its card."""

from pathlib import Path

BUNDLED = Path(__file__).parent / "tiny"
