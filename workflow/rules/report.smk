# The leaderboard, the tracking of every run, and the report.


rule leaderboard:
    input:
        scores=ask.scores(),
    output:
        leaderboard=report(
            f"{REPORT}/leaderboard.csv",
            caption="../report/leaderboard.rst",
            category="Comparison",
        ),
        pairwise=report(
            f"{REPORT}/pairwise.csv",
            caption="../report/pairwise.rst",
            category="Comparison",
        ),
        scores=f"{REPORT}/scores.parquet",
    log:
        f"results/logs/leaderboard/{EXPERIMENT}.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        tables=ask.scored(),
        variants=list(PLAN.variants),
        code=code_of("leaderboard"),
    message:
        "Comparing all variants and baselines"
    script:
        "../scripts/leaderboard.py"


rule write_report:
    input:
        scores=f"{REPORT}/scores.parquet",
        leaderboard=f"{REPORT}/leaderboard.csv",
        pairwise=f"{REPORT}/pairwise.csv",
        cards=ask.model_files("card"),
        histories=ask.model_files("history"),
        speeds=ask.speeds(),
        test_sets=ask.test_set_files("manifest", "mixtures"),
        audio=ancient(ask.test_set_files("noisy", "clean") + ask.played_outputs()),
        windows=ask.training_tables(),
        packs=ancient(ask.training_packs()),
        prepared=ask.manifests("audio"),
        splits=ask.manifests("splits"),
        spectrograms=ask.manifests("spectrograms"),
        blind=ask.blind_results(),
    output:
        report=report(
            f"{REPORT}/report.html",
            caption="../report/report.rst",
            category="Report",
        ),
        study=f"{REPORT}/study.json",
        figures=directory(f"{REPORT}/figures"),
        tables=directory(f"{REPORT}/tables"),
        paper=directory(f"{REPORT}/paper"),
    log:
        f"results/logs/report/{EXPERIMENT}.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        record=ask.record.model_dump_json(),
        benchmarks=ask.benchmarks(),
        code=code_of("report"),
        lock=lock_digest(ROOT) if ROOT else "none",
    message:
        "Writing {output.report}"
    script:
        "../scripts/report.py"


rule track:
    input:
        unpack(ask.model_of_run),
        scores=ask.outputs_of_run("scores"),
        enhanced=ancient(ask.outputs_of_run("enhanced")),
        manifests=ask.test_set_files("manifest"),
        mixtures=ask.test_set_files("mixtures"),
        noisy=ancient(ask.test_set_files("noisy")),
        clean=ancient(ask.test_set_files("clean")),
        store=ancient("results/mlflow/store.json"),
    output:
        f"results/tracking/{EXPERIMENT}/{{variant}}-seed{{seed}}.json",
    log:
        f"results/logs/track/{EXPERIMENT}/{{variant}}-seed{{seed}}.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        tables=ask.tables_of_run,
        about=ask.about_run,
        code=code_of("track"),
    message:
        "Recording {wildcards.variant}, seed {wildcards.seed}, in MLflow"
    script:
        "../scripts/track.py"


rule track_experiment:
    input:
        runs=ask.runs(),
        report=f"{REPORT}/report.html",
        figures=f"{REPORT}/figures",
        leaderboard=f"{REPORT}/leaderboard.csv",
        store=ancient("results/mlflow/store.json"),
    output:
        f"results/tracking/{EXPERIMENT}/experiment.json",
    log:
        f"results/logs/track/{EXPERIMENT}/experiment.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        about=ask.about_experiment(),
        code=code_of("track_experiment"),
    message:
        "Report: {input.report} — runs: type `denoise ui`"
    script:
        "../scripts/track_experiment.py"
