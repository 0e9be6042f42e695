"""The gRPC surface of this package: request -> use case -> response, no rules."""
