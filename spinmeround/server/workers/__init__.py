"""The processes that work for the server: one makes a head, one looks at photos and frames."""
