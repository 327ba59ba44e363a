"""LEMoE as published: one FFN-shaped expert for each batch, routed by KV anchor."""
