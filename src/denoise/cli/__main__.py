"""``python -m denoise.cli`` is the command ``denoise``."""

from denoise.cli import main

main()
