"""Where everything of one specd is, apart from the user's own: for the demo, benches and tests."""

from __future__ import annotations

import os
from pathlib import Path


class Place:
    """Everything of one specd under ``root``: LM Studio's home, specd.toml and specd's state."""

    root: Path

    @property
    def home(self) -> Path:
        """LM Studio's home."""
        return self.root / "lmstudio"

    @property
    def state(self) -> Path:
        """Specd's state directory."""
        return self.root / "state"

    @property
    def config(self) -> Path:
        """specd.toml."""
        return self.root / "specd.toml"

    @property
    def settings(self) -> Path:
        """The app's settings.json."""
        return self.home / "settings.json"

    def defaults(self, main: str) -> Path:
        """The file of a main model's defaults."""
        return self.home / ".internal" / "user-concrete-model-default-config" / f"{main}.json"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that point specd here."""
        return {
            "LMSTUDIO_HOME": str(self.home),
            "SPECD_CONFIG": str(self.config),
            "SPECD_STATE_DIR": str(self.state),
        }

    @property
    def environment(self) -> dict[str, str]:
        """The present environment, with specd pointed here and nowhere else."""
        ours = ("SPECD_", "LMSTUDIO_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return kept | self.variables
