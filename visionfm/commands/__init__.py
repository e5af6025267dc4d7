"""Commands beside the stages: look at a config, a machine or an artefact."""
