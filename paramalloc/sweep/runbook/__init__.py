"""From a sweep file to a verdict: the stages, what each decides, and who wins.

`stages.py` goes through them; what decides (selection, audit, search, checks) is plain data in and out.
"""
