"""Benchmarks: every figure is a ratio against a control of the same run.

`python -m tests.bench [case ...]`, or `make bench`. See docs/operations/benchmarks.md.
"""
