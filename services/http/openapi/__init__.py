"""The OpenAPI 3.1 description of what this process serves over HTTP."""
