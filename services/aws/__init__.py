"""What the drivers for AWS share: where it is, its clients, what its failures mean."""
