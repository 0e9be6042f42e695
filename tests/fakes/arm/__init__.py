"""A fake of Azure Resource Manager: the part that `wm setup azure` uses.

Written after the REST reference (Resources, Storage Resource Provider, Cosmos DB Resource
Provider, Authorization). What it does as Azure does: API versions, identifiers without case,
defaults that are filled in and names of locations that are normalised, operations that run
on after their call, one operation of an account at a time, properties that never change,
roles that are seen late. What it is not: it knows no policy, lock, quota or network rule, and
refuses properties that it does not know, which Azure may ignore.
"""

from tests.fakes.arm.server import OTHER, SUBSCRIPTION, Arm

__all__ = ["OTHER", "SUBSCRIPTION", "Arm"]
