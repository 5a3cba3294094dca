"""Every fact about LM Studio: where its files are, what its keys are called, what its API answers.

Nobody outside this package knows a key name or a path of LM Studio's. Facts that are inferred
rather than documented are read tolerantly and never acted on destructively.
"""
