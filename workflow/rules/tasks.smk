# Tasks: a decoder for each model and run, its predictions, the metrics of all runs, and the tests of differences.


rule train:
    input:
        train=lambda w: PLAN.run_train_table(w.task, w.model, w.run),
        features=lambda w: paths(PLAN.task_features(w.task, w.model, w.run)),
        encoders=lambda w: paths(JOBS.dense_encoders(w.task, w.model)),
    output:
        decoder="results/tasks/{task}/{model}/{run}/decoder.safetensors",
        training="results/tasks/{task}/{model}/{run}/training.parquet",
    log:
        "results/logs/train/{task}.{model}.{run}.log",
    benchmark:
        "results/benchmarks/train/{task}.{model}.{run}.tsv"
    conda:
        "../../environment.yml"
    threads: lambda w: JOBS.train(w.task).threads
    resources:
        mem_mb=growing(
            lambda w: JOBS.train(w.task).mem_mb,
            held=lambda w, input: held_mb(
                "train", input, tokens=CONFIG.tasks[w.task].reads_tokens()
            ),
            asked=lambda w: CONFIG.tasks[w.task].training.resources,
        ),
        runtime=growing(lambda w: JOBS.train(w.task).runtime_min),
    params:
        features=lambda w: named(PLAN.task_features(w.task, w.model, w.run)),
        dense=lambda w: JOBS.dense_flags(w.task, w.model),
        settings=text(lambda w: PLAN.tasks.train_settings(w.task, w.model, w.run)),
        version=VERSIONS["train"],
        launcher=lambda w: launcher(JOBS.train(w.task).gpus),
    shell:
        "{params.launcher} train --train {input.train:q} --features {params.features:q} {params.dense:q}"
        " --out {output.decoder:q}"
        " --training-out {output.training:q} --settings {params.settings} --log {log:q}"


rule calibrate:
    input:
        decoder="results/tasks/{task}/{model}/{run}/decoder.safetensors",
        train=lambda w: PLAN.run_train_table(w.task, w.model, w.run),
        features=lambda w: paths(PLAN.run_features(w.task, w.model, w.run)),
    output:
        "results/tasks/{task}/{model}/{run}/calibrated.safetensors",
    log:
        "results/logs/calibrate/{task}.{model}.{run}.log",
    benchmark:
        "results/benchmarks/calibrate/{task}.{model}.{run}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(
            8000,
            lambda w, input: held_mb(
                "predict", input, tokens=CONFIG.tasks[w.task].reads_tokens()
            ),
        ),
        runtime=growing(60),
    params:
        features=lambda w: named(PLAN.run_features(w.task, w.model, w.run)),
        settings=text(lambda w: PLAN.tasks.calibrate_settings(w.task)),
        version=VERSIONS["calibrate"],
    shell:
        "visionfm calibrate --decoder {input.decoder:q} --train {input.train:q} --features {params.features:q}"
        " --out {output:q} --settings {params.settings} --log {log:q}"


rule predict:
    input:
        decoder=lambda w: PLAN.applied_decoder(w.task, w.model, w.run),
        samples=lambda w: PLAN.run_samples(w.task, w.model, w.run),
        features=lambda w: paths(PLAN.run_features(w.task, w.model, w.run)),
        encoders=lambda w: paths(JOBS.dense_encoders(w.task, w.model)),
    output:
        "results/tasks/{task}/{model}/{run}/predictions.parquet",
    log:
        "results/logs/predict/{task}.{model}.{run}.log",
    benchmark:
        "results/benchmarks/predict/{task}.{model}.{run}.tsv"
    wildcard_constraints:
        task=one_of(task for task in CONFIG.tasks if not PLAN.has_masks(task)),
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=growing(
            8000,
            lambda w, input: held_mb(
                "predict", input, tokens=CONFIG.tasks[w.task].reads_tokens()
            ),
        ),
        runtime=growing(120),
    params:
        features=lambda w: named(PLAN.run_features(w.task, w.model, w.run)),
        dense=lambda w: JOBS.dense_flags(w.task, w.model),
        settings=text(lambda w: PLAN.tasks.predict_settings(w.task, w.model, w.run)),
        version=VERSIONS["predict"],
        launcher=lambda w: launcher(JOBS.predict(w.task).gpus),
    shell:
        "{params.launcher} predict --decoder {input.decoder:q} --samples {input.samples:q} --features {params.features:q}"
        " {params.dense:q}"
        " --out {output:q} --settings {params.settings} --log {log:q}"


rule locate:
    input:
        samples=lambda w: PLAN.run_samples(w.task, w.model, w.run),
        features=lambda w: paths(PLAN.run_features(w.task, w.model, w.run)),
    output:
        "results/tasks/{task}/{model}/{run}/locations.parquet",
    log:
        "results/logs/locate/{task}.{model}.{run}.log",
    benchmark:
        "results/benchmarks/locate/{task}.{model}.{run}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(8000, lambda w, input: held_mb("locate", input)),
        runtime=growing(60),
    params:
        features=lambda w: named(PLAN.run_features(w.task, w.model, w.run)),
        settings=text(lambda w: PLAN.tasks.locate_settings(w.task)),
        version=VERSIONS["locate"],
    shell:
        "visionfm locate --samples {input.samples:q} --features {params.features:q} --out {output:q}"
        " --settings {params.settings} --log {log:q}"


rule suspect:
    input:
        samples=lambda w: PLAN.judged(w.task)[0],
        locations=lambda w: PLAN.judged(w.task)[1],
        audit="results/tasks/{task}/audit.parquet",
    output:
        "results/tasks/{task}/suspects.parquet",
    log:
        "results/logs/suspect/{task}.log",
    benchmark:
        "results/benchmarks/suspect/{task}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000, lambda w, input: held_mb("suspect", input)),
        runtime=growing(60),
    params:
        settings=text(lambda w: PLAN.tasks.suspect_settings(w.task)),
        version=VERSIONS["suspect"],
    shell:
        "visionfm suspect --samples {input.samples:q} --locations {input.locations:q} --audit {input.audit:q}"
        " --out {output:q} --settings {params.settings} --log {log:q}"


rule predict_masks:
    input:
        decoder="results/tasks/{task}/{model}/{run}/decoder.safetensors",
        samples=lambda w: PLAN.run_samples(w.task, w.model, w.run),
        features=lambda w: paths(PLAN.task_features(w.task, w.model)),
        encoders=lambda w: paths(JOBS.dense_encoders(w.task, w.model)),
    output:
        table="results/tasks/{task}/{model}/{run}/predictions.parquet",
        masks="results/tasks/{task}/{model}/{run}/masks.zip",
        probabilities="results/tasks/{task}/{model}/{run}/probabilities.zip",
    log:
        "results/logs/predict/{task}.{model}.{run}.log",
    benchmark:
        "results/benchmarks/predict/{task}.{model}.{run}.tsv"
    wildcard_constraints:
        task=one_of(task for task in CONFIG.tasks if PLAN.has_masks(task)),
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        features=lambda w: named(PLAN.task_features(w.task, w.model)),
        dense=lambda w: JOBS.dense_flags(w.task, w.model),
        settings=text(lambda w: PLAN.tasks.predict_settings(w.task, w.model, w.run)),
        version=VERSIONS["predict"],
        launcher=lambda w: launcher(JOBS.predict(w.task).gpus),
    shell:
        "{params.launcher} predict --decoder {input.decoder:q} --samples {input.samples:q} --features {params.features:q}"
        " {params.dense:q}"
        " --out {output.table:q} --masks-out {output.masks:q}"
        " --probabilities-out {output.probabilities:q} --settings {params.settings} --log {log:q}"


rule evaluate:
    input:
        lambda w: [PLAN.predictions(w.task, w.model, run) for run in PLAN.runs(w.task)],
    output:
        "results/tasks/{task}/{model}/metrics.parquet",
    log:
        "results/logs/evaluate/{task}.{model}.log",
    benchmark:
        "results/benchmarks/evaluate/{task}.{model}.tsv"
    wildcard_constraints:
        task=one_of(task for task in CONFIG.tasks if not PLAN.has_masks(task)),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000, lambda w, input: held_mb("evaluate", input)),
        runtime=growing(60),
    params:
        settings=text(lambda w: PLAN.tasks.evaluate_settings(w.task, w.model)),
        version=VERSIONS["evaluate"],
    shell:
        "visionfm evaluate --predictions {input:q} --out {output:q} --settings {params.settings} --log {log:q}"


rule evaluate_masks:
    input:
        predictions=lambda w: [
            PLAN.predictions(w.task, w.model, run) for run in PLAN.runs(w.task)
        ],
        masks=lambda w: [
            PLAN.masks(w.task, w.model, run)[0] for run in PLAN.runs(w.task)
        ],
        probabilities=lambda w: [
            PLAN.masks(w.task, w.model, run)[1] for run in PLAN.runs(w.task)
        ],
    output:
        metrics="results/tasks/{task}/{model}/metrics.parquet",
        images="results/tasks/{task}/{model}/image_metrics.parquet",
    log:
        "results/logs/evaluate/{task}.{model}.log",
    benchmark:
        "results/benchmarks/evaluate/{task}.{model}.tsv"
    wildcard_constraints:
        task=one_of(task for task in CONFIG.tasks if PLAN.has_masks(task)),
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        roots=lambda w: named(JOBS.roots(PLAN.task_datasets(w.task))),
        settings=text(lambda w: PLAN.tasks.evaluate_settings(w.task, w.model)),
        version=VERSIONS["evaluate"],
    shell:
        "visionfm evaluate --predictions {input.predictions:q} --masks {input.masks:q}"
        " --probabilities {input.probabilities:q} --roots {params.roots:q} --workers {threads}"
        " --out {output.metrics:q} --image-metrics-out {output.images:q}"
        " --settings {params.settings} --log {log:q}"


rule compare:
    input:
        lambda w: paths(PLAN.compared(w.task)),
    output:
        "results/tasks/{task}/comparison.parquet",
    log:
        "results/logs/compare/{task}.log",
    benchmark:
        "results/benchmarks/compare/{task}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000, lambda w, input: held_mb("compare", input)),
        runtime=growing(60),
    params:
        compared=lambda w: named(PLAN.compared(w.task)),
        settings=text(lambda w: PLAN.tasks.compare_settings(w.task)),
        version=VERSIONS["compare"],
    shell:
        "visionfm compare --compared {params.compared:q} --out {output:q} --settings {params.settings} --log {log:q}"


rule contrast:
    input:
        compared=lambda w: paths(PLAN.contrasted(w.task)),
        samples=lambda w: PLAN.all_samples(w.task, CONFIG.tasks[w.task].models[0])[0],
        labels=lambda w: [PLAN.labels(name) for name in PLAN.grouped_datasets(w.task)],
    output:
        "results/tasks/{task}/contrasts.parquet",
    log:
        "results/logs/contrast/{task}.log",
    benchmark:
        "results/benchmarks/contrast/{task}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000, lambda w, input: held_mb("contrast", input)),
        runtime=growing(60),
    params:
        compared=lambda w: named(PLAN.contrasted(w.task)),
        labels=lambda w: named(
            [(name, PLAN.labels(name)) for name in PLAN.grouped_datasets(w.task)]
        ),
        settings=text(lambda w: PLAN.tasks.contrast_settings(w.task)),
        version=VERSIONS["contrast"],
    shell:
        "visionfm contrast --compared {params.compared:q} --samples {input.samples:q} --labels {params.labels:q}"
        " --out {output:q} --settings {params.settings} --log {log:q}"


rule recalibrate:
    input:
        lambda w: paths(PLAN.contrasted(w.task)),
    output:
        "results/tasks/{task}/recalibration.parquet",
    log:
        "results/logs/recalibrate/{task}.log",
    benchmark:
        "results/benchmarks/recalibrate/{task}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000, lambda w, input: held_mb("recalibrate", input)),
        runtime=growing(60),
    params:
        predictions=lambda w: named(PLAN.contrasted(w.task)),
        settings=text(lambda w: PLAN.tasks.recalibrate_settings(w.task)),
        version=VERSIONS["recalibrate"],
    shell:
        "visionfm recalibrate --predictions {params.predictions:q} --out {output:q} --settings {params.settings}"
        " --log {log:q}"
