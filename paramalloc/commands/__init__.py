"""The subcommands of `python -m paramalloc`, one module each."""
