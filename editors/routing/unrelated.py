"""Text that concerns no edit: what the papers' routers are told, and measured on, as "none of these"."""

_BEGINNINGS = (
    "What is the best way to", "How long does it take to", "Why do people", "It is not easy to", "Who would want to",
    "When should one", "My neighbour would like to", "Is it possible to",
)  # fmt: skip
_ENDS = (
    "cook rice for six?", "learn how to swim?", "mend a bicycle", "sleep in a tent when it rains", "grow tomatoes",
    "write a letter of thanks", "count all the stars?", "boil water on a mountain?", "teach a dog to sit",
    "paint an old wooden door", "carry heavy bags", "save money every month?",
)  # fmt: skip
# Every beginning with every end.
UNRELATED = tuple(f"{beginning} {end}" for end in _ENDS for beginning in _BEGINNINGS)
