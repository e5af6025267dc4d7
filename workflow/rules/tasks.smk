# Tasks: a decoder for each model and run, its predictions, and the metrics of all runs.


rule train:
    input:
        train="results/tasks/{task}/{model}/train.parquet",
        features=task_features,
        encoders=dense_encoders,
    output:
        decoder="results/tasks/{task}/{model}/{run}/decoder.safetensors",
        training="results/tasks/{task}/{model}/{run}/training.parquet",
    log:
        "results/logs/train/{task}.{model}.{run}.log",
    benchmark:
        "results/benchmarks/train/{task}.{model}.{run}.tsv"
    conda:
        "../../environment.yml"
    threads: lambda w: given(CONFIG.tasks[w.task].training.resources, "threads", 2)
    resources:
        **devices(train_gpus),
        mem_mb=train_resource("mem_mb", 8000),
        runtime=train_resource("runtime", 240),
    params:
        features=named_features,
        dense=dense_files,
        settings=lambda w: text(PLAN.tasks.train_settings(w.task, w.model, w.run)),
        version=VERSIONS["train"],
        launcher=lambda w: launcher(min(1, train_gpus(w))),
    shell:
        "{params.launcher} train --train {input.train:q} --features {params.features:q} {params.dense:q}"
        " --out {output.decoder:q}"
        " --training-out {output.training:q} --settings {params.settings:q} --log {log:q}"


rule predict:
    input:
        decoder=lambda w: PLAN.decoder(w.task, w.model, w.run),
        samples="results/tasks/{task}/{model}/samples.parquet",
        features=run_features,
        encoders=dense_encoders,
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
        **devices(train_gpus),
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        features=named_run_features,
        dense=dense_files,
        settings=lambda w: text(PLAN.tasks.predict_settings(w.task, w.model, w.run)),
        version=VERSIONS["predict"],
        launcher=lambda w: launcher(min(1, train_gpus(w))),
    shell:
        "{params.launcher} predict --decoder {input.decoder:q} --samples {input.samples:q} --features {params.features:q}"
        " {params.dense:q}"
        " --out {output:q} --settings {params.settings:q} --log {log:q}"


rule predict_masks:
    input:
        decoder="results/tasks/{task}/{model}/{run}/decoder.safetensors",
        samples="results/tasks/{task}/{model}/samples.parquet",
        features=task_features,
        encoders=dense_encoders,
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
        **devices(train_gpus),
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        features=named_features,
        dense=dense_files,
        settings=lambda w: text(PLAN.tasks.predict_settings(w.task, w.model, w.run)),
        version=VERSIONS["predict"],
        launcher=lambda w: launcher(min(1, train_gpus(w))),
    shell:
        "{params.launcher} predict --decoder {input.decoder:q} --samples {input.samples:q} --features {params.features:q}"
        " {params.dense:q}"
        " --out {output.table:q} --masks-out {output.masks:q}"
        " --probabilities-out {output.probabilities:q} --settings {params.settings:q} --log {log:q}"


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
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        settings=lambda w: text(PLAN.tasks.evaluate_settings(w.task, w.model)),
        version=VERSIONS["evaluate"],
    shell:
        "visionfm evaluate --predictions {input:q} --out {output:q} --settings {params.settings:q} --log {log:q}"


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
        roots=lambda w: [
            f"{dataset}={CONFIG.datasets[dataset].root}"
            for dataset in PLAN.task_datasets(w.task)
        ],
        settings=lambda w: text(PLAN.tasks.evaluate_settings(w.task, w.model)),
        version=VERSIONS["evaluate"],
    shell:
        "visionfm evaluate --predictions {input.predictions:q} --masks {input.masks:q}"
        " --probabilities {input.probabilities:q} --roots {params.roots:q} --workers {threads}"
        " --out {output.metrics:q} --image-metrics-out {output.images:q}"
        " --settings {params.settings:q} --log {log:q}"
