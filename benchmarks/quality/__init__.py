"""How right are the answers? Editors, the papers, plain fine-tuning, and what unrelated text catches."""
