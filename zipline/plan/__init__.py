"""From definitions to typed steps: loading, naming, identity, types, and what one reading of a table can serve.

`definitions.load` imports what authors wrote; `canonical` and `fingerprints` say what a definition is; `compiled`
writes that down; `build` turns definitions and table schemas into the plans of `steps`, which every engine executes.
"""
