"""Data that comes with the package: the built-in quiz, and profiles that are shipped."""
