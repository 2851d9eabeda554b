"""The experiments of papers as commands, on any model: their tables with our numbers."""
