"""The processes of a deployment: how they are put together, started and stopped."""
