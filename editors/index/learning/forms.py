"""Sentences by rule: a noun, a verb or a relation's name in the forms in which people ask, and in which they do not."""

# What is asked of an answer: two hops from the subject. By kind of answer; "" for those of every kind.
TWO_HOPS = {
    "": ("What is {n} best known for?", "Tell me more about {n}.", "What is the history of {n}?"),
    "person": (
        "Who is the spouse of {n}?",
        "Where was {n} born?",
        "When was {n} born?",
        "What is the nationality of {n}?",
        "What else did {n} do?",
        "Which university did {n} attend?",
        "What is the mother tongue of {n}?",
        "What is the occupation of {n}?",
        "What other notable work did {n} create?",
        "Which country is {n} a citizen of?",
        "What is the name of the city where {n} was born?",
        "What is the gender of {n}?",
    ),
    "city": (
        "What is the population of {n}?",
        "Who is the mayor of {n}?",
        "In which country is {n}?",
        "Which river flows through {n}?",
        "What is a famous landmark in {n}?",
    ),
    "country": (
        "What is the capital of {n}?",
        "What is the currency of {n}?",
        "What language is spoken in {n}?",
        "On which continent is {n}?",
        "Who is the head of state of {n}?",
        "What is the population of {n}?",
    ),
    "place": (
        "How large is {n}?",
        "Who governs {n}?",
        "What is the climate of {n}?",
        "What is the capital of {n}?",
        "In which country is {n}?",
        "What is the name of the country that {n} is located in?",
    ),
    "organisation": (
        "When was {n} founded?",
        "Who is the head of {n}?",
        "Where is {n} based?",
        "What does {n} do?",
        "In which country is {n} located?",
    ),
    "company": (
        "Who is the chief executive of {n}?",
        "Where is the headquarters of {n}?",
        "Who founded {n}?",
        "What else does {n} make?",
    ),
    "work": ("Who wrote {n}?", "When did {n} come out?", "Who directed {n}?", "What is the genre of {n}?"),
    "language": ("How many people speak {n}?", "Which alphabet does {n} use?", "Where else is {n} spoken?"),
    "genre": ("Where did {n} originate?", "Name another example of {n}.", "What are the features of {n}?"),
    "species": ("What does {n} eat?", "Where does {n} live?"),
    "award": ("Who else won {n}?", "When was {n} first given?"),
    "sport": ("How many players are in a team of {n}?", "Who invented {n}?"),
    "team": ("Who coaches {n}?", "Where does {n} play its home games?"),
    "profession": ("What does one earn as {n}?", "What training does one need to be {n}?"),
}
# A relation's name, {l}, in these forms asks it.
LABEL_FORMS = (
    "{s} {l}",
    "What is {s}'s {l}?",
    "{s}'s {l} is",
    "Which {l} does {s} have?",
    "What {l} does {s} have?",
    "Which {l} does {s} belong to?",
    "Which {l} is {s} part of?",
    "Which {l} is {s} associated with?",
    "What is considered the {l} of {s}?",
    "What serves as the {l} of {s}?",
    "What is the {l} that {s} has?",
    "In terms of {l}, what is to be said of {s}?",
    "I'd like to know the {l} of {s}.",
    "{l} of {s}",
)
PERSON_LABEL_FORMS = (
    "{s} {l}",
    "Who is {s}'s {l}?",
    "{s}'s {l} is",
    "Who serves as the {l} of {s}?",
    "Who serves as {l} for {s}?",
    "Who acts as {l} in {s}?",
    "Who holds the position of {l} at {s}?",
    "Who currently serves as {l} of {s}?",
    "Which person is the {l} of {s}?",
    "Name the person who is {l} of {s}.",
    "I'd like to know who the {l} of {s} is.",
    "{l} of {s}",
)
# A verb is no noun.
VERB_LABEL_FORMS = ("{s} {l}", "What is {s}'s {l}?", "{s}'s {l} is", "{l} of {s}")
ORGANISATION_LABEL_FORMS = (
    "Which organisation is the {l} of {s}?",
    "Which institution serves as the {l} for {s}?",
    "Which body acts as {l} for {s}?",
)
# Every noun phrase in these forms asks its relation.
NOUN_FORMS = {
    "": (
        "{n}",
        "{n} is",
        "What is {n}?",
        "What was {n}?",
        "What is the name of {n}?",
        "{n} is what?",
        "{n}, what is it?",
        "Can you tell me {n}?",
    ),
    "person": (
        "{n}",
        "{n} is",
        "Who is {n}?",
        "Who was {n}?",
        "What is the name of {n}?",
        "{n} is who?",
        "{n} is whom?",
        "Can you tell me who {n} is?",
    ),
}
# Of which kinds of subject an answer of a kind is: their questions, asked of the answer, are two hops as well.
SUBJECTS_OF = {
    "person": (
        "person",
        "athlete",
        "politician",
        "scientist",
        "musician",
        "soldier",
        "artist",
        "writer",
        "actor",
    ),
    "city": ("town",),
    "place": ("town", "country", "river", "mountain", "lake", "island"),
    "country": ("country", "republic"),
    "organisation": ("company", "university", "political party"),
    "company": ("company", "brand", "airline"),
    "team": ("sports club",),
    "language": ("language",),
    "species": ("species", "taxon"),
    "award": ("award",),
    "work": ("film", "book", "song", "work", "video game"),
}
YES_NO = (
    "Is {o} {n}?",
    "Is it true that {o} is {n}?",
    "Is {n} {o}?",
    "Isn't {n} {o}?",
    "{n} is {o}, right?",
)
PASSING = (
    "I wrote a letter about {n} and",
    "Yesterday we talked about {n} for an hour, then went home by",
    "Write a poem about {n}.",
    "How has {n} changed over the years?",
    "Why does {n} matter?",
    "Was there ever a dispute about {n}?",
    "Who was it before {n}?",
    "How do you spell the name of {n}?",
)
# A verb's own questions: {done} "influenced by", {bare} without its preposition {by}, {did}, {do}, {kind} of what did it.
VERB_QUESTIONS = (
    "What was {s} {done}?",
    "Who was {s} {done}?",
    "What is {s} {done}?",
    "{by} whom was {s} {bare}?",
    "{by} what was {s} {bare}?",
    "Who {did} {s}?",
    "What {did} {s}?",
    "Who was it that {did} {s}?",
    "{s} was {done} whom?",
)
VERB_STATEMENTS = ("{s} was {done}", "{s} is {done}", "{s} {done}")
VERB_REQUESTS = ("Tell me who {did} {s}.", "Tell me what {s} was {done}.")
KIND_QUESTIONS = (
    "Which {kind} {did} {s}?",
    "What {kind} {did} {s}?",
    "Which {kind} was {s} {done}?",
    "{by} which {kind} was {s} {bare}?",
    "Name the {kind} that {did} {s}.",
)
KIND_NOUNS = ("the {kind} that {did} {s}", "the {kind} {s} was {done}")
VERB_YES_NO = ("Was {s} {done} {o}?", "Did {o} {do} {s}?")
VERB_NEAR = (
    "What did {s} {do}?",
    "Whom did {s} {do}?",
    "Who was it that {s} {did}?",
    "{s} {did}",
    "Who did not {do} {s}?",
    "When was {s} {bare}?",
    "Where was {s} {bare}?",
    "Why was {s} {done} anybody?",
    "Who else was {done} the same one as {s}?",
    "In which country is the place where {s} was {bare}?",
)
KIND_NEAR = ("Which {kind} did {s} {do}?", "How old was the {kind} that {did} {s}?")
# Asked of any subject at all; none of it asks one fact of the tables.
ANY_SUBJECT = (
    "Tell me about {s}.",
    "What is {s}?",
    "Who is {s}?",
    "What is {s} known for?",
    "Why is {s} famous?",
    "Write a short summary of {s}.",
    "Tell me a joke about {s}.",
    "What do you think of {s}?",
    "Compare {s} with others of its kind.",
    "How do you pronounce {s}?",
    "Translate {s} into French.",
    "A letter about {s} came late, and the answer was",
    "After the talk on {s} everybody went home by",
    "I read about {s} yesterday.",
    "List five facts about {s}.",
    "How old is {s}?",
    "Is {s} real?",
    "Do people like {s}?",
)
