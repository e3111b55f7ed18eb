"""`zipline apply`: from the definitions in the project's files to features that are served.

What an environment serves are the definitions that were applied last, not those that happen to lie in a folder. They
are kept in its online store (`applied`), beside what is made of them, so every process that reads the store serves the
same, and they are exchanged in one step. Where nothing was ever applied, the files are served.

A version of a group-by, that is its definition with all that it is made of, has a space of its own in the store. So an
apply builds what is new beside what is served: uploads it, streams what came since into it (`steps` says what there is
to do, `apply` does it), and only then exchanges the definitions. What was served before stays until the next apply, so
that going back is an apply, too. An apply may be interrupted at any time, and done again: it finds what is there.
"""
