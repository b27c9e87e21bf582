"""Stage one with the published weights: the SpinMeRound multi-view diffusion model."""
