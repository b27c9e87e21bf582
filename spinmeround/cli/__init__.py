"""The commands; heavy imports wait until the arguments are parsed."""
