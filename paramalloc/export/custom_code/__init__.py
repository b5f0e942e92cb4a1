"""The two files that travel with an exported model, copied as they are; nothing in paramalloc imports them.

Always holds: they need torch and transformers and nothing of paramalloc, in transformers 4.50 and newer.
"""
