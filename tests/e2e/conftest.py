"""What the end-to-end tests are written with."""

from tests.daemon import Sandbox, until

__all__ = ["Sandbox", "until"]
