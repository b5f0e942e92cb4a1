"""Rules that stop a trial early: the kill rule, ASHA, and how either would have done on recorded curves.

Always holds: pure decisions on points of learning curves; nothing here knows Ray, a file or a clock.
"""
