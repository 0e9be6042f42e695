"""Records in memory are as faithful as every driver: test_driver_changes."""

from tests.conformance.records.test_driver_changes import *  # noqa: F403
