"""The experts of live edits on the device, and how they are applied to the rows of a batch."""
