"""What makes a profile, from labelled answers; needs the extra `eval`.

`make_profile` is the walk: split the questions (`split`), fit a detector (`detector`), fit P(wrong)
to its scores (`probability`), test what can be promised (`certify`). `make_profile_with_retries`
does the same for policies that try again.
"""
