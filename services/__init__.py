"""The kernel that every service stands on; it never imports a `*_svc` package."""
