"""Bearer tokens: the verifier port, strict checks, the `local` provider, admission."""
