"""Every surface. A new one is a module like these, and its name here."""

from __future__ import annotations

from typing import Final

from specd.lmstudio import model_defaults, settings
from specd.lmstudio.surface import Surface

SURFACES: Final[tuple[Surface, ...]] = (settings, model_defaults)
