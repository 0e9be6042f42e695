"""Mail to people about what happened: who gets which event, in what words."""
