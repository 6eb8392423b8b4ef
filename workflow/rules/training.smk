# Training of every variant with every seed.


rule mlflow_store:
    output:
        "results/mlflow/store.json",
    log:
        "results/logs/mlflow_store.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    message:
        "Initialising the MLflow store"
    script:
        "../scripts/mlflow_store.py"


rule train:
    input:
        unpack(spectrograms_of),
        windows=windows_of,
        start=start_of,
        store=ancient("results/mlflow/store.json"),
    output:
        model="results/models/{variant}/seed{seed}/model.keras",
        history="results/models/{variant}/seed{seed}/history.csv",
        card="results/models/{variant}/seed{seed}/card.json",
    log:
        "results/logs/train/{variant}/seed{seed}.log",
    benchmark:
        "results/benchmarks/train/{variant}-seed{seed}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: training_threads
    resources:
        gpu=training_gpus,
    params:
        settings=training_params,
        code=code_of("train", "tracking.live"),
    message:
        "Training {wildcards.variant}, seed {wildcards.seed} (progress: {log})"
    script:
        "../scripts/train.py"
