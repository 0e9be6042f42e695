"""The gRPC runtime: server, channels, interceptors, error table, tokens."""
