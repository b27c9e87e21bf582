"""The app in the browser: heads as jobs in processes of their own, behind HTTP on this machine alone."""
