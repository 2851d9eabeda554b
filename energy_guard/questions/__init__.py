"""Labelled questions: read (`rows`), put to a model (`wording`), asked (`ask`), graded (`grade`)
and kept (`answered`).
"""
