"""Who may do what on a project: facts, caches, decisions, explanations, previews, watches."""
