"""`make conformance`: dnuc beside DADApy, number by number, on generated data.

cases.py        the data: a table of kinds, sizes and settings; and of data on which DADApy goes wrong
quantities.py   what is compared: a table of names and allowed differences
theirs.py       DADApy's answers, in an environment of its own
ours.py         dnuc's answers to the same questions
plain.py        the answers of the plain loops in tests/reference.py, for small data
compare.py      answers to differences
page.py         differences to tables, on the terminal and in docs/results/conformance.md
"""
