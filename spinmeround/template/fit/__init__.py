"""The head model fitted to the landmarks and silhouettes of photos."""
