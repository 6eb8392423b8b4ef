# Enhancement of the test sets by every model and baseline, and their scores.


rule enhance:
    input:
        unpack(ask.model_of_method),
        manifest="results/test_sets/{test_id}/manifest.json",
        mixtures="results/test_sets/{test_id}/mixtures.csv",
        noisy=ancient("results/test_sets/{test_id}/noisy.npy"),
        clean=ancient("results/test_sets/{test_id}/clean.npy"),
    output:
        enhanced="results/enhanced/{method}/seed{seed}/{test_id}.npy",
        spectral="results/enhanced/{method}/seed{seed}/{test_id}.csv",
        speed="results/enhanced/{method}/seed{seed}/{test_id}.json",
    log:
        "results/logs/enhance/{method}/seed{seed}/{test_id}.log",
    benchmark:
        "results/benchmarks/enhance/{method}-seed{seed}-{test_id}.tsv"
    wildcard_constraints:
        # A model and a digest of how it is applied.
        method=r"[^/]+\.[0-9a-f]{8}",
    conda:
        "../envs/denoise.yaml"
    threads: 2
    resources:
        gpu=1,
    params:
        label=ask.label_of_method,
        test_set=ask.label_of_test_set,
        settings=ask.enhancement_params,
        code=enhancement_code,
    message:
        "Enhancing {params.test_set} with {params.label}"
    script:
        "../scripts/enhance.py"


rule baseline:
    input:
        manifest="results/test_sets/{test_id}/manifest.json",
        mixtures="results/test_sets/{test_id}/mixtures.csv",
        noisy=ancient("results/test_sets/{test_id}/noisy.npy"),
        clean=ancient("results/test_sets/{test_id}/clean.npy"),
    output:
        enhanced="results/enhanced/{baseline}/seed0/{test_id}.npy",
        speed="results/enhanced/{baseline}/seed0/{test_id}.json",
    log:
        "results/logs/baseline/{baseline}/{test_id}.log",
    benchmark:
        "results/benchmarks/baseline/{baseline}-seed0-{test_id}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        test_set=ask.label_of_test_set,
        code=baseline_code,
    message:
        "Processing {params.test_set} with baseline {wildcards.baseline}"
    script:
        "../scripts/baseline.py"


rule score:
    input:
        enhanced="results/enhanced/{method}/seed{seed}/{test_id}.npy",
        spectral=ask.spectral_of_method,
        manifest="results/test_sets/{test_id}/manifest.json",
        mixtures="results/test_sets/{test_id}/mixtures.csv",
        clean=ancient("results/test_sets/{test_id}/clean.npy"),
    output:
        "results/scores/{method}/seed{seed}/{test_id}.csv",
    log:
        "results/logs/score/{method}/seed{seed}/{test_id}.log",
    benchmark:
        "results/benchmarks/score/{method}-seed{seed}-{test_id}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 8
    params:
        label=ask.label_of_method,
        test_set=ask.label_of_test_set,
        bandwidth=ask.rate_of_method,
        code=scoring_code,
    message:
        "Scoring {params.label} on {params.test_set}"
    script:
        "../scripts/score.py"


rule dnsmos:
    input:
        enhanced="results/enhanced/{method}/seed{seed}/{test_id}.npy",
        manifest="results/test_sets/{test_id}/manifest.json",
        mixtures="results/test_sets/{test_id}/mixtures.csv",
    output:
        "results/dnsmos/{method}/seed{seed}/{test_id}.csv",
    log:
        "results/logs/dnsmos/{method}/seed{seed}/{test_id}.log",
    benchmark:
        "results/benchmarks/dnsmos/{method}-seed{seed}-{test_id}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 8
    params:
        label=ask.label_of_method,
        test_set=ask.label_of_test_set,
        code=code_of("dnsmos"),
    message:
        "Predicting opinions of {params.label} on {params.test_set}"
    script:
        "../scripts/dnsmos.py"


rule wer:
    input:
        enhanced="results/enhanced/{method}/seed{seed}/{test_id}.npy",
        manifest="results/test_sets/{test_id}/manifest.json",
        mixtures="results/test_sets/{test_id}/mixtures.csv",
    output:
        "results/wer/{method}/seed{seed}/{test_id}.{recogniser}.csv",
    log:
        "results/logs/wer/{method}/seed{seed}/{test_id}.{recogniser}.log",
    benchmark:
        "results/benchmarks/wer/{method}-seed{seed}-{test_id}.{recogniser}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 8
    params:
        label=ask.label_of_method,
        test_set=ask.label_of_test_set,
        code=code_of("wer"),
    message:
        "Recognising the words of {params.label} on {params.test_set}"
    script:
        "../scripts/wer.py"


rule transcribe:
    input:
        manifest="results/test_sets/{test_id}/manifest.json",
        mixtures="results/test_sets/{test_id}/mixtures.csv",
        clean=ancient("results/test_sets/{test_id}/clean.npy"),
    output:
        "results/test_sets/{test_id}/heard.{recogniser}.csv",
    log:
        "results/logs/transcribe/{test_id}.{recogniser}.log",
    benchmark:
        "results/benchmarks/transcribe/{test_id}.{recogniser}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 8
    params:
        test_set=ask.label_of_test_set,
        code=code_of("transcribe"),
    message:
        "Recognising the words of the clean recordings of {params.test_set}"
    script:
        "../scripts/transcribe.py"


rule dwer:
    input:
        enhanced="results/enhanced/{method}/seed{seed}/{test_id}.npy",
        heard="results/test_sets/{test_id}/heard.{recogniser}.csv",
        manifest="results/test_sets/{test_id}/manifest.json",
        mixtures="results/test_sets/{test_id}/mixtures.csv",
    output:
        "results/dwer/{method}/seed{seed}/{test_id}.{recogniser}.csv",
    log:
        "results/logs/dwer/{method}/seed{seed}/{test_id}.{recogniser}.log",
    benchmark:
        "results/benchmarks/dwer/{method}-seed{seed}-{test_id}.{recogniser}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 8
    params:
        label=ask.label_of_method,
        test_set=ask.label_of_test_set,
        code=code_of("wer"),
    message:
        "Recognising the words of {params.label} on {params.test_set}"
    script:
        "../scripts/wer.py"


rule untrained_scores:
    # A target of its own: what can be compared without any training.
    input:
        ask.untrained_scores(),
    localrule: True
