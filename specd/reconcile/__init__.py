"""Observe, decide, apply, report: one idempotent pass, like a Kubernetes controller's.

``observe`` reads the world, ``desired`` says what the configuration asks for, ``plan`` (pure) is
the smallest set of edits between them, ``apply`` makes them through the journal, ``conditions``
says how things stand. No threads, no loops, no clocks of its own.
"""
