"""`task=doctor`: looks at the machine and the configuration before a long run, with the run's own parts.

place         where the run would lie: a folder to try it out in, that is gone afterwards
machine       versions, devices, what the disk and the memory hold
memory        what the run needs of them, by a formula
trial         a sync, a rollout group, a backward pass, and what their seconds make of the whole run
examination   all of it in order, within the ranks
"""
