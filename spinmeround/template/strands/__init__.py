"""Strands of hair on the template: their direction, their growth, and how they are drawn."""
