"""`tune_main.py` on one machine that nothing disturbs, without the dashboard that nobody looks at here."""

from __future__ import annotations

import sys

import ray

from tune_main import main

if __name__ == "__main__":
    ray.init("local", num_cpus=2, include_dashboard=False)
    sys.exit(main(sys.argv[1:]))
