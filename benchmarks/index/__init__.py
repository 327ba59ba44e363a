"""The scope index: how large it may grow, how well it tells questions apart."""
