"""Benchmark and tuning: is a pair faster, with which draft length, and how sure is that.

Prompts, exact replay, cost curves, prediction, statistics and history. The parts that generate
run in the worker; ``history`` and ``result`` are light and safe to import in the daemon.
"""
