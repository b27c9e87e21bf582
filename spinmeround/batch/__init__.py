"""Many heads on Ray: what is to be made, what was made, and the work in between, each without the others."""
