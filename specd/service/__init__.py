"""The login service: a launchd agent on macOS, a systemd user unit on Linux.

``program`` says what is to be started and what it may write, ``launchd`` and ``systemd`` are two
plain modules with the same few verbs, ``platforms`` lists them. The calls to ``launchctl`` and
``systemctl`` stand behind one small function, so that everything can be tested anywhere.
"""
