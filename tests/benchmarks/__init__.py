"""`make bench`: dnuc beside other libraries on this machine, and beside the fastest products its processor can do.

problems.py     what is searched: a table of sizes and data
contenders.py   who searches it, and the floors: bare matrix products
cluster.py      dnuc from a Zarr store through worker processes
measure.py      one contender, once, in a process of its own
answers.py      float64 brute force of some rows, and who disagrees with it
rounds.py       all of it, in turn, round after round
page.py         results to tables, on the terminal and in docs/results/neighbors.md
gpu.py          `make bench-gpu`
images.py       `make bench-images`
scale.py        `make bench-scale`: the run, watched; scale_data.py its samples and neighbors, resident.py its memory
"""
