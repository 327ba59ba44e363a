"""Who opens the console and what they may do: rules, sessions, and what keeps other sites out."""
