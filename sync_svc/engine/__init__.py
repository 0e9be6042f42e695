"""The engine: push, pull, plan, reconcile and compare, driven through the two ports."""
