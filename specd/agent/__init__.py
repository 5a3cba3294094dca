"""The daemon: watching, scheduling, the socket API, worker processes, and their wiring.

The only package with threads and loops. Decisions are made below, in ``reconcile``.
"""
