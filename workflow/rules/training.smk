# Training of every variant with every seed.


rule mlflow_store:
    output:
        "results/mlflow/{experiment}.json",
    log:
        "results/logs/mlflow_store/{experiment}.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        code=code_of("mlflow_store"),
    message:
        "Initialising the MLflow store"
    script:
        "../scripts/mlflow_store.py"


rule train:
    input:
        unpack(spectrograms_of),
        store=ancient(f"results/mlflow/{EXPERIMENT}.json"),
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
        gpu=1,
    params:
        settings=training_params,
        experiment=EXPERIMENT,
        code=code_of("train"),
    message:
        "Training {wildcards.variant}, seed {wildcards.seed} (progress: {log})"
    script:
        "../scripts/train.py"
