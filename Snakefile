# From archives to a report that compares trained denoisers. Type: snakemake --cores 8 all
from pathlib import Path

from snakemake.utils import min_version

from denoise.core.boundary import report_errors
from denoise.study.config import read_yaml

min_version("9.0")

# With --configfile, those files replace it: a key that they leave out has its default.
if not workflow.config_settings.configfiles:
    # Snakemake would say neither which file nor which line is wrong.
    if Path("config.yaml").exists():
        with report_errors():
            read_yaml(Path("config.yaml"))

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/corpora.smk"
include: "workflow/rules/mixtures.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/scoring.smk"
include: "workflow/rules/report.smk"


workflow.default_target = "all"


rule all:
    input:
        final_outputs(),
