"""What is trained when: plans, batches, approval, and what is tried again."""
