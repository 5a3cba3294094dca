"""``python -m specd`` is ``specd``."""

import sys

from specd.cli.main import main

sys.exit(main())
