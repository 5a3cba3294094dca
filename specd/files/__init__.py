"""Somebody else's files: how a value is found in JSON bytes, and how a file is replaced safely.

Knows bytes, paths and system calls. Knows nothing of LM Studio, of specd's wishes or of the
journal: callers hand in a pure function from old content to new.
"""
