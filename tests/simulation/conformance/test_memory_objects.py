"""Objects in memory are as faithful as every driver."""

from tests.conformance.objects.test_object_contract import *  # noqa: F403
