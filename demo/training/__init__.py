"""The tiny base: what it reads, how it is trained, and what its card says."""
