"""Train, compare and use speech denoisers: the library behind the workflow.

The modules follow the data: ``fetch`` → ``corpora`` → ``preparation`` → ``splits`` →
``mixing`` → ``spectrogram`` → ``training`` → ``enhancement`` → ``scoring`` → ``tracking``
and ``report``.  None of them knows of Snakemake, and only ``training``, ``enhancement``
and ``models`` ever import Keras.
"""

__version__ = "0.1.0"
