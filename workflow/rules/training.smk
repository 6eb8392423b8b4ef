# Training of every model with every seed.


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
        train=ask.manifest_of_training("train"),
        validation=ask.manifest_of_training("validation"),
        windows=ancient(ask.windows_of_training),
        tables=ask.tables_of_training,
        start=ask.start_of_training,
        teacher=ask.teacher_of_training,
        store=ancient("results/mlflow/store.json"),
    output:
        model="results/models/{model}/seed{seed}/model.keras",
        onnx="results/models/{model}/seed{seed}/model.onnx",
        history="results/models/{model}/seed{seed}/history.csv",
        card="results/models/{model}/seed{seed}/card.json",
    log:
        "results/logs/train/{model}/seed{seed}.log",
    benchmark:
        "results/benchmarks/train/{model}-seed{seed}.tsv"
    conda:
        "../envs/denoise.yaml"
    threads: ask.threads_of_training
    resources:
        gpu=training_gpus,
    params:
        label=ask.label_of_training,
        variant=ask.variant_of_training,
        workers=ask.workers_of_training,
        settings=ask.training_params,
        code=training_code,
    message:
        "Training {params.label} (progress: {log})"
    script:
        "../scripts/train.py"
