"""QNLI: does the sentence answer the question?

    question  When did the third Digimon series begin?
    sentence  Unlike the two seasons before it and most of the seasons that followed, Digimon Tamers takes a darker and
              more realistic approach to its story featuring Digimon who do not reincarnate after their deaths and more
              complex character development in the original Japanese.
    label     not_entailment

Test figures are of the validation split (5,463 rows).
"""

from fedquad.learn.corpus import glue

TASK = glue("qnli", ("question", "sentence"), ("entailment", "not_entailment"))
