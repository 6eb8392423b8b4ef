"""The obvious way of each stage, as published systems do it, for `benchmarks/speed.py`."""
