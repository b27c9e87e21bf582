"""What the views say about a surface that is being fitted: target normals, silhouettes, photo-consistency."""
