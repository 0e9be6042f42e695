"""Secrets by reference: from the environment, Secrets Manager and Parameter Store."""
