"""Stacks: named, locked sets of packages in virtual environments of their own, for what cannot live beside everything else.

``place`` knows where they lie, ``wheels`` packs our own packages, ``locking`` decides on versions, ``making`` builds them,
``checking`` looks them over, ``rerunning`` carries a run into one.
"""
