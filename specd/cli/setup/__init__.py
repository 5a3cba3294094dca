"""Have it run: install, start, stop, uninstall, and the daemon in the foreground."""
