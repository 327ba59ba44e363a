"""How the pair head of an encoder is trained, and on what."""
