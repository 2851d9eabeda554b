"""What a detector is worth on labelled answers: pure functions on arrays.

`metrics`: ranking, and risk against coverage. `probability`: how good P(wrong) is. `targets`:
what answering earns when errors cost. `risk` grows with the risk that an answer is wrong;
`wrong` says whether it is. Needs the extra `eval`.
"""
