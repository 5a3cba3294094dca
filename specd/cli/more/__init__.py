"""The demo, shell completion and the manual page."""
