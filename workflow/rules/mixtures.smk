# Mixtures of speech and noise, their spectrograms, and the test sets.


rule mix:
    input:
        splits=ask.splits_of_mixture,
        packs=ancient(ask.packs_of_mixture),
    output:
        train="results/mixtures/{mixture}/train.csv",
        validation="results/mixtures/{mixture}/validation.csv",
    log:
        "results/logs/mix/{mixture}.log",
    benchmark:
        "results/benchmarks/mix/{mixture}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 8
    params:
        settings=ask.params_of("mixture"),
        code=code_of("mix"),
    message:
        "Mixing training and validation windows {wildcards.mixture}"
    script:
        "../scripts/mix.py"


rule test_set:
    input:
        splits=ask.splits_of_test_set,
        packs=ancient(ask.packs_of_test_set),
    output:
        mixtures="results/test_sets/{test_id}/mixtures.csv",
        noisy="results/test_sets/{test_id}/noisy.npy",
        clean="results/test_sets/{test_id}/clean.npy",
        manifest="results/test_sets/{test_id}/manifest.json",
    log:
        "results/logs/test_set/{test_id}.log",
    benchmark:
        "results/benchmarks/test_set/{test_id}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 8
    params:
        settings=ask.params_of("test_id"),
        code=code_of("test_set"),
    message:
        "Mixing test set {wildcards.test_id}"
    script:
        "../scripts/test_set.py"


rule scaling:
    input:
        mixtures=ask.training_mixtures_of_spectrogram,
        packs=ancient(ask.packs_of_spectrogram),
    output:
        "results/spectrograms/{spectrogram}/scaling.json",
    log:
        "results/logs/scaling/{spectrogram}.log",
    benchmark:
        "results/benchmarks/scaling/{spectrogram}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 8
    params:
        settings=ask.params_of("spectrogram"),
        code=code_of("scaling"),
    message:
        "Measuring the levels of the training windows {wildcards.spectrogram}"
    script:
        "../scripts/scaling.py"


rule spectrograms:
    input:
        mixtures=ask.mixtures_of_spectrogram,
        packs=ancient(ask.packs_of_spectrogram),
        scaling=ask.scaling_of_spectrogram,
    output:
        manifest="results/spectrograms/{spectrogram}/{part}/manifest.json",
        shards=directory("results/spectrograms/{spectrogram}/{part}/shards"),
    log:
        "results/logs/spectrograms/{spectrogram}/{part}.log",
    benchmark:
        "results/benchmarks/spectrograms/{spectrogram}-{part}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 8
    params:
        settings=ask.params_of("spectrogram"),
        code=code_of("spectrograms"),
    message:
        "Caching spectrograms {wildcards.spectrogram} ({wildcards.part})"
    script:
        "../scripts/spectrograms.py"
