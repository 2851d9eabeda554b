"""The built-in quiz: its sources, and what makes energy_guard/data/quiz.jsonl of them.

written/ is by hand. from_data/ is made by `from_data` out of packages with data about the world.
"""
