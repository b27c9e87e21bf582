"""Show heads in a browser on this machine, or as one page to pass on; the viewer itself is in ``web/``.

Importing this package loads nothing heavy.
"""
