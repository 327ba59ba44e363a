"""LEMoE: one expert for each batch of facts."""
