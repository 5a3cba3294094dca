"""Other programs' files: edit single values in JSON bytes, and replace a file safely.

This package knows bytes, paths and system calls, and nothing of LM Studio, desired values or the
journal: callers pass a pure function from old content to new content.
"""
