"""The login service: a launchd agent on macOS, a systemd user unit on Linux.

``program`` describes the command and its writable directories, ``launchd`` and ``systemd`` are two
plain modules with the same few functions, ``platforms`` lists them. One small function calls
``launchctl`` and ``systemctl``, so that tests can replace it.
"""
