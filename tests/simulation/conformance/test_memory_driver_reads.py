"""Records in memory are as faithful as every driver: test_driver_reads."""

from tests.conformance.records.test_driver_reads import *  # noqa: F403
