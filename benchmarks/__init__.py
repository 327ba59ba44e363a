"""What was measured, and can be repeated: `python -m benchmarks.ROOM.NAME`, in the repository, prints one JSON object."""
