"""Stage `paper`: what a paper needs of a run, written from its artefacts: text, tables, figures, checklists, cards."""
