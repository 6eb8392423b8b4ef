"""Train, compare and use speech denoisers: the library behind the workflow.

The packages stand in the order of the data: ``corpora``, ``mixing``, ``features``, ``networks``,
``training``, ``enhancement``, ``evaluation``, then ``report`` and ``tracking``;
``docs/architecture.md`` says what each holds.  None of them knows of Snakemake.
"""

__version__ = "0.1.0"
