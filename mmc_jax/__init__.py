"""A JAX engine for the Law of Multi-Model Collaboration (arXiv 2512.23340).

Data flows one way, and so do the imports:

    corpus, pool -> models -> scoring -> scores -> oracle -> frontier -> law
                              importers ^                        -> report
"""
