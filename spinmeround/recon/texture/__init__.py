"""Textured meshes from posed pictures: UV atlas, colours, normal map."""
