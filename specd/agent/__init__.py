"""The daemon: watching, scheduling, the socket API, worker processes, and their wiring.

Its loops and threads are all here. Decisions are made below, in ``reconcile``.
"""
