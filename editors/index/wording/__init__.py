"""What a text asks and in which words, without a model: names masked, kinds told apart, words that exclude each other."""
