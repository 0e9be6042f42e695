"""Records in memory are as faithful as every driver: test_instance."""

from tests.conformance.records.test_instance import *  # noqa: F403
