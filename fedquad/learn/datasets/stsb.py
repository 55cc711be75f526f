"""STS-B: how much do two sentences mean the same, from 0 to 5?

    sentence1  A plane is taking off.
    sentence2  An air plane is taking off.
    label      5.0

Test figures are of the validation split (1,500 rows), since the scores of GLUE's test split are hidden.
"""

from fedquad.learn.corpus import glue

TASK = glue("stsb", ("sentence1", "sentence2"), ("0", "5"), objective="regression", metrics=("pearson", "spearman"))
