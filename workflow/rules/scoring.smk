# Enhancement of the test sets by every model and baseline, and their scores.


rule enhance:
    input:
        unpack(test_set_of),
        model="results/models/{variant}/seed{seed}/model.keras",
        card="results/models/{variant}/seed{seed}/card.json",
    output:
        enhanced="results/enhanced/{variant}/seed{seed}/{test_set}.npy",
        spectral="results/enhanced/{variant}/seed{seed}/{test_set}.csv",
        speed="results/enhanced/{variant}/seed{seed}/{test_set}.json",
    log:
        "results/logs/enhance/{variant}/seed{seed}/{test_set}.log",
    benchmark:
        "results/benchmarks/enhance/{variant}-seed{seed}-{test_set}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 2
    resources:
        gpu=1,
    params:
        settings=enhancement_params,
        training=training_params,
        code=code_of("enhance"),
    message:
        "Enhancing {wildcards.test_set} with {wildcards.variant}, seed {wildcards.seed}"
    script:
        "../scripts/enhance.py"


use rule enhance as enhance_ready with:
    input:
        unpack(test_set_of),
        model=lambda wildcards: f"{PLAN.models[wildcards.ready].folder}/model.keras",
        card=lambda wildcards: f"{PLAN.models[wildcards.ready].folder}/card.json",
    output:
        enhanced="results/enhanced/{ready}/seed0/{test_set}.npy",
        spectral="results/enhanced/{ready}/seed0/{test_set}.csv",
        speed="results/enhanced/{ready}/seed0/{test_set}.json",
    log:
        "results/logs/enhance/{ready}/seed0/{test_set}.log",
    benchmark:
        "results/benchmarks/enhance/{ready}-seed0-{test_set}.tsv"
    params:
        settings=EnhancementSettings().canonical(),
        training=canonical_json(
            {"training": TrainingSettings().model_dump(mode="json")}
        ),
        code=code_of("enhance"),
    message:
        "Enhancing {wildcards.test_set} with the ready model {wildcards.ready}"


rule baseline:
    input:
        unpack(test_set_of),
    output:
        enhanced="results/enhanced/{baseline}/seed0/{test_set}.npy",
        speed="results/enhanced/{baseline}/seed0/{test_set}.json",
    log:
        "results/logs/baseline/{baseline}/{test_set}.log",
    benchmark:
        "results/benchmarks/baseline/{baseline}-{test_set}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        code=code_of("baseline"),
    message:
        "Processing {wildcards.test_set} with baseline {wildcards.baseline}"
    script:
        "../scripts/baseline.py"


rule score:
    input:
        unpack(enhanced_of),
    output:
        "results/scores/{method}/seed{seed}/{test_set}.csv",
    log:
        "results/logs/score/{method}/seed{seed}/{test_set}.log",
    benchmark:
        "results/benchmarks/score/{method}-seed{seed}-{test_set}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: 8
    params:
        bandwidth=bandwidth_of,
        code=code_of("score"),
    message:
        "Scoring {wildcards.method}, seed {wildcards.seed}, on {wildcards.test_set}"
    script:
        "../scripts/score.py"
