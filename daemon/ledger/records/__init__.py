"""What was measured and is kept beside the edits."""
