"""What the serving role answers over HTTP: its endpoints, and what stands in front of them."""
