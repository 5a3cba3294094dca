"""specd beside its peers: ``make bench`` measures them in one run and prints ratios with spread.

Every section is one module with ``measure(...) -> Section``. Contenders take turns on the same
machine at the same time, so that what else the machine does falls on all of them alike; a figure
that is to be held is a ratio wherever it can be one. ``python -m bench --help`` says how to run
some of it, or a short form of all.
"""
