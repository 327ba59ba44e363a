"""Model folders as Hugging Face writes them: which files they have, and their hash."""
