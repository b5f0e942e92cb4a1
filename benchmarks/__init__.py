"""Side-by-side measurements that anybody can run: `python -m benchmarks.NAME [--quick] [--json] [--threads N]`.

Always holds: what is compared gets the same work, threads and precision, takes turns on the machine, and is judged by
medians over rounds; a table comes first, and with `--json` the last line of the output is one JSON object. The tables
of `docs/performance.md` come from here.
"""
