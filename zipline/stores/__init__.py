"""Where features are kept to be looked up by key: one small contract, and a module for each store that keeps it.

`contract` says what a store does, `keys` how keys are written, `opening` which store a project has.
"""
