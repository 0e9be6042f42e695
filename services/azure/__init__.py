"""What all drivers of Azure share. The SDK is imported by `clients` and `failures` alone."""
