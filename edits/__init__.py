"""What every package needs and none owns: what an edit is, its errors, its prompts; neither torch nor SQL."""
