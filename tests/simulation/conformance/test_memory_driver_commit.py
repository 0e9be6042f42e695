"""Records in memory are as faithful as every driver: test_driver_commit."""

from tests.conformance.records.test_driver_commit import *  # noqa: F403
