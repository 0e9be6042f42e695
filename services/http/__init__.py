"""The HTTP side: data plane of signed URLs, gateway."""
