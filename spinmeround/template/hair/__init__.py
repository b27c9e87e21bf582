"""Hair of the template: volume, texture and strands."""
