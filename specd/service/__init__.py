"""The login service: a launchd agent on macOS, a systemd user unit on Linux.

Each platform's real calls stand behind one small function, so that the rest can be tested anywhere.
"""
