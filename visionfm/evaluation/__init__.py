"""Evaluation: predictions become metrics with intervals, and metrics and predictions one page.

`metrics`, `statistics` and `scoring` are pure numpy; `evaluate` and `report` are the stages. Nothing here runs an
encoder or a decoder.
"""
