"""Dated history through the whole daemon, asked at every generation."""
