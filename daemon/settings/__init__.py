"""The settings of every role: their tables, where they are read from, and how they are refused."""
