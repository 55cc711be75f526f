"""SST-2: is a phrase of a film review positive?

    sentence  hide new secretions from the parental units
    label     negative

The 1,821 rows that the paper tests on are GLUE's test split, whose labels are hidden: test figures are of the
validation split (872 rows), and say so.
"""

from fedquad.learn.corpus import glue

TASK = glue("sst2", ("sentence",), ("negative", "positive"))
