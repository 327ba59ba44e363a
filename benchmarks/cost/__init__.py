"""What edits cost in time and memory, on the processor and on a GPU."""
