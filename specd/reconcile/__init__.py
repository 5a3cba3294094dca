"""Observe, decide, apply, report: one idempotent pass, like a Kubernetes controller's.

``observe`` reads the files, ``desired`` works out what the configuration asks for, ``plan`` (pure)
makes the smallest set of edits between them, ``apply`` writes them through the journal, and
``conditions`` judges the result. No threads, no loops.
"""
