# From archives to a report that compares trained denoisers. Type: snakemake --cores 8 all
from snakemake.utils import min_version

min_version("9.0")


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
