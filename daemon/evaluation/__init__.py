"""The parts of `upkeep evaluate`: what is read, how the edits are made, who is asked what, and how an answer is judged."""
