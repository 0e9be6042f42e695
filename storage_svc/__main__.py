"""`python -m storage_svc`: this service alone."""

from services.cli.serve import run_target

run_target("storage")
