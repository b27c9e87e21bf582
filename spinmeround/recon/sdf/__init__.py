"""A signed distance on a B-spline grid, fitted by Gauss-Newton or by volume rendering."""
