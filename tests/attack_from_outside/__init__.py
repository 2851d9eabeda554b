"""The product attacked from outside: seeded, repeatable, counted. `make attack` runs all of it.

`kinds` lists the kinds of attack, each a module of its own. `runner` has them tried in child
processes (`worker`), which may end in any way, and counts what held.
"""
