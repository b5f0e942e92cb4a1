"""The sweep: which trials to run, when to stop one, whom to promote, and who wins.

`driver.py` goes from the command to the report; `runbook/` and `rules/` decide, on plain data; `trials/` is what one
trial does and leaves behind, `machines/` what it runs on. Ray is known to `machines/`, `gauges.py`,
`trials/trial.py`, `trials/recall.py` and `runbook/optuna_search.py`, and to nothing else.
"""
