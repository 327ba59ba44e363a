"""How many scorings does blame need to find the culprits of a batch? See `culprits.py`, which this runs.

    python benchmarks/bisect.py --batch 256 --runs 50

A script's folder comes first on Python's path, so every benchmark here that means the standard library's `bisect` gets
this file: for them it is that module.
"""

from _bisect import bisect_left, bisect_right, insort_left, insort_right

bisect, insort = bisect_right, insort_right
__all__ = ["bisect", "bisect_left", "bisect_right", "insort", "insort_left", "insort_right"]

if __name__ == "__main__":
    from culprits import main

    main()
