"""gRPC servicers: one class per service, each method one use case."""
