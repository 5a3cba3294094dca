"""The command line: thin. It queries the daemon over its socket, or calls the layers below.

Each command is one module with ``parser`` and ``run(args)``; ``commands`` lists them.
"""
