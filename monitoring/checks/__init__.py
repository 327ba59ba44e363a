"""Is the rest as it was? Probes, answers compared and counted, what a share may mean, and the page that shows it."""
