"""What a model answers, which edit fires, and how well an editor does."""
