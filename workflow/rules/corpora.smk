# From archives to prepared, packed audio and its splits.


rule fetch:
    output:
        "resources/archives/{corpus}/{archive}",
    log:
        "results/logs/fetch/{corpus}/{archive}.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    resources:
        downloads=1,
    message:
        "Fetching {wildcards.archive} of {wildcards.corpus}"
    script:
        "../scripts/fetch.py"


rule index:
    input:
        archives=ancient(ask.archives),
    output:
        "resources/corpora/{corpus}/{subset}.csv",
        **recordings_of_index(),
    log:
        "results/logs/index/{corpus}/{subset}.log",
    benchmark:
        "results/benchmarks/index/{corpus}/{subset}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        settings=ask.params_of_index,
        code=index_code,
    message:
        "Extracting and indexing {wildcards.corpus}/{wildcards.subset}"
    script:
        "../scripts/index.py"


rule prepare:
    input:
        indexes=ask.indexes_of_audio,
        recordings=ancient(ask.recordings_of_audio),
    output:
        audio="results/audio/{audio}/audio.npy",
        index="results/audio/{audio}/index.csv",
        manifest="results/audio/{audio}/manifest.json",
    log:
        "results/logs/prepare/{audio}.log",
    benchmark:
        "results/benchmarks/prepare/{audio}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 8
    params:
        settings=ask.params_of("audio"),
        code=code_of("prepare"),
    message:
        "Decoding, resampling and packing {wildcards.audio}"
    script:
        "../scripts/prepare.py"


rule split:
    input:
        indexes=ask.audio_of_split,
    output:
        "results/splits/{split}.csv",
    log:
        "results/logs/split/{split}.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        settings=ask.params_of("split"),
        packs=ask.packs_of_split,
        code=code_of("split"),
    message:
        "Dividing {wildcards.split} into training, validation and test"
    script:
        "../scripts/split.py"
