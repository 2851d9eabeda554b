"""A guarded model behind OpenAI's HTTP interface.

Knows nothing of how answers are judged: it turns bodies into requests, lets a `Guard` answer
them one after the other, and says in each response what the guard said of it.
"""
