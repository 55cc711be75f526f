"""QQP: do two questions ask the same?

    question1  How is the life of a math student? Could you describe your own experiences?
    question2  Which level of prepration is enough for the exam jlpt5?
    label      not_duplicate

Test figures are of the validation split (40,430 rows); GLUE reports F1 besides accuracy, since two thirds are not
duplicates.
"""

from fedquad.learn.corpus import glue

TASK = glue("qqp", ("question1", "question2"), ("not_duplicate", "duplicate"), metrics=("accuracy", "f1"))
