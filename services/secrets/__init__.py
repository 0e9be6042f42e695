"""Secrets by reference: from the environment, and the stores of AWS and Azure."""
