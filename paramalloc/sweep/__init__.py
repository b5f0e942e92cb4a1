"""The sweep: which trials to run, when to stop one, whom to promote, and who wins.

Everything here is plain Python over plain data, except `trial.py` and `runner.py`, which alone import Ray.
"""
