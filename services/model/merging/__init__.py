"""How versions side by side become what is shown: pure rules, by family."""
