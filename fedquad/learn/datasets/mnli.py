"""MNLI: does the premise entail the hypothesis, say nothing of it, or contradict it?

    premise     Conceptually cream skimming has two basic dimensions - product and geography.
    hypothesis  Product and geography are what make cream skimming work.
    label       neutral

Test figures are of validation_matched (9,815 rows), since the labels of GLUE's test split are hidden.
"""

from fedquad.learn.corpus import glue

TASK = glue("mnli", ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"))
