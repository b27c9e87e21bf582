"""Stage one without weights: a parametric head fitted to the photo."""
