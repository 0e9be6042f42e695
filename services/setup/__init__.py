"""What the setups of all providers share: plans, patience, tags, names."""
