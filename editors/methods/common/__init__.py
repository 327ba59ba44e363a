"""What the methods share: the editor, its settings, training rows, schedules, chat answers, thresholds."""
