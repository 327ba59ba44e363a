"""What every package of Upkeep needs and none owns: what an edit is, its errors, its prompts; neither torch nor SQL."""
