"""Fact events: the record, its envelope, strict JSON, templates."""
