"""Projects: their rows, homes, moves, trash, holds and purging."""
