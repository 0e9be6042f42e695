"""What all drivers of Azure share. The SDK is imported by `clients`, `failures`,
`one_resource` and `transport` alone."""
