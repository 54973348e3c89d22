"""The commands of `mpo`, in the order in which its help lists them: `run`, the loop's `stages`,
`sweep`, `results` and `preparation`.

A stage's own module is imported when its command is called, so that help and refusals come at once.
"""
