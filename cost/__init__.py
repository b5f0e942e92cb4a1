"""What a sweep cost and where every dollar went: events in, a bill that adds up to the cent out.

Always holds: this package knows nothing of training or of Ray and imports neither; it decides from plain
rows and writes no file. The same rows give the same bill, in any order and however often a row is repeated.
Run `python -m cost report RESULTS_DIR`.
"""

from cost.errors import CostError
from cost.summary import summarize

__all__ = ["CostError", "summarize"]
