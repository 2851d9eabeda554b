"""Data that comes with the package: the built-in quiz, and profiles that are shipped.

Some questions of the quiz are made from data of GeoNames (geonames.org, CC BY 4.0): docs/quiz.md.
"""
