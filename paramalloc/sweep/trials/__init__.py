"""One trial: what it has to train, how a worker does it, what the driver knows of it and what is written of it.

`work.py` trains and scores without knowing who runs it; `trial.py` is the thin shell that Ray Tune calls.
"""
