"""The frozen base: its weights, tokenizer, chat template, layers."""
