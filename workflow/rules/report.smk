# The leaderboard, the tracking of every run, and the report.


rule leaderboard:
    input:
        scores=score_files(),
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
        scores=f"{REPORT}/scores.csv",
    log:
        f"results/logs/leaderboard/{EXPERIMENT}.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        variants=list(PLAN.variants),
        code=code_of("leaderboard"),
    message:
        "Comparing all variants and baselines"
    script:
        "../scripts/leaderboard.py"


rule write_report:
    input:
        unpack(manifest_files),
        scores=score_files(),
        cards=model_files("card.json"),
        histories=model_files("history.csv"),
        speeds=speed_files(),
        blind=blind_results(),
        examples=example_files(),
        leaderboard=f"{REPORT}/leaderboard.csv",
        pairwise=f"{REPORT}/pairwise.csv",
    output:
        report=report(
            f"{REPORT}/report.html",
            caption="../report/report.rst",
            category="Report",
        ),
        study=f"{REPORT}/study.json",
        figures=directory(f"{REPORT}/figures"),
    log:
        f"results/logs/report/{EXPERIMENT}.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        settings=report_params(),
        code=code_of("report"),
        lock=lock_digest(ROOT) if ROOT else "none",
    message:
        "Writing {output.report}"
    script:
        "../scripts/report.py"


rule track:
    input:
        unpack(spectrograms_of),
        scores=scores_of_run,
        examples=examples_of_run,
        model="results/models/{variant}/seed{seed}/model.keras",
        history="results/models/{variant}/seed{seed}/history.csv",
        card="results/models/{variant}/seed{seed}/card.json",
        store=ancient("results/mlflow/store.json"),
    output:
        f"results/tracking/{EXPERIMENT}/{{variant}}-seed{{seed}}.json",
    log:
        f"results/logs/track/{EXPERIMENT}/{{variant}}-seed{{seed}}.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        experiment=EXPERIMENT,
        test_sets=canonical_json(PLAN.test_set_names),
        about=about_run,
        code=code_of("track"),
    message:
        "Recording {wildcards.variant}, seed {wildcards.seed}, in MLflow"
    script:
        "../scripts/track.py"


rule track_experiment:
    input:
        runs=tracking_files(),
        report=f"{REPORT}/report.html",
        figures=f"{REPORT}/figures",
        leaderboard=f"{REPORT}/leaderboard.csv",
    output:
        f"results/tracking/{EXPERIMENT}/experiment.json",
    log:
        f"results/logs/track/{EXPERIMENT}/experiment.log",
    conda:
        "../envs/denoise.yaml"
    threads: 1
    params:
        experiment=EXPERIMENT,
        about=about_experiment(),
        code=code_of("track_experiment"),
    message:
        "Report: {input.report} — runs: type `make ui`"
    script:
        "../scripts/track_experiment.py"
