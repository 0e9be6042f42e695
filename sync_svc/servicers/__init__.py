"""gRPC servicers: requests in, use cases called, answers out."""
