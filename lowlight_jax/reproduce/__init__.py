"""Both papers' experiments, each by one command; see `__main__`.

`dual_paper` and `cnn_paper` say what each consists of, in the order of its report.
`recipes` are the trainings, `parts` what is done once and kept, `study` methods on
images, `claims` whether a difference is more than the noise of seeds, `figures` and
`page` what it looks like.
"""

PAPERS = ("dual", "cnn")
