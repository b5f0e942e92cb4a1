"""What a handful of seeds can say: comparisons of variants, how sure they are, and what noise hides.

Always holds: pure functions of numbers, no files, no clock; scores are natural logarithms of perplexity, so that a
difference is a ratio of perplexities; what cannot be known from the seeds at hand is None, never a guess.
"""
