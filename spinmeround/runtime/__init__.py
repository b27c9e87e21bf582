"""The stages of a run: progress, time and memory."""
