"""Short compositions of the stages."""
