"""The certificate authority of `wm certs`, for development."""
