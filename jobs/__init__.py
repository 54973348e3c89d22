"""Entry points: one thin module a stage, the pipeline, the `mpo` command, the presets."""
