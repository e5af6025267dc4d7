# Tasks: a decoder for each model and run, its predictions, and the metrics of all runs.


def task_features(wildcards):
    return [path for _, path in PLAN.task_features(wildcards.task, wildcards.model)]


def named_features(wildcards):
    return [f"{dataset}={path}" for dataset, path in PLAN.task_features(wildcards.task, wildcards.model)]


def train_resource(name, default):
    def resource(wildcards, attempt):
        value = given(CONFIG.tasks[wildcards.task].training.resources, name, default)
        return value * attempt

    return resource


def train_gpu(wildcards):
    training = CONFIG.tasks[wildcards.task].training
    return given(training.resources, "gpu", 1 if training.device == "cuda" else 0)


rule train:
    input:
        train="results/tasks/{task}/{model}/train.parquet",
        features=task_features,
    output:
        decoder="results/tasks/{task}/{model}/{run}/decoder.safetensors",
        training="results/tasks/{task}/{model}/{run}/training.parquet",
    params:
        features=named_features,
        settings=lambda w: text(PLAN.train_settings(w.task, w.run)),
        version=VERSIONS["train"],
    threads: lambda w: given(CONFIG.tasks[w.task].training.resources, "threads", 2)
    resources:
        gpu=train_gpu,
        mem_mb=train_resource("mem_mb", 8000),
        runtime=train_resource("runtime", 240),
    log:
        "results/logs/train/{task}.{model}.{run}.log",
    benchmark:
        "results/benchmarks/train/{task}.{model}.{run}.tsv"
    shell:
        "visionfm train --train {input.train:q} --features {params.features:q} --out {output.decoder:q}"
        " --training-out {output.training:q} --settings {params.settings:q} --log {log:q}"


rule predict:
    input:
        decoder="results/tasks/{task}/{model}/{run}/decoder.safetensors",
        samples="results/tasks/{task}/{model}/samples.parquet",
        features=task_features,
    output:
        "results/tasks/{task}/{model}/{run}/predictions.parquet",
    params:
        features=named_features,
        settings=lambda w: text(PLAN.predict_settings(w.task, w.model, w.run)),
        version=VERSIONS["predict"],
    threads: 2
    resources:
        gpu=train_gpu,
        mem_mb=growing(8000),
        runtime=growing(60),
    log:
        "results/logs/predict/{task}.{model}.{run}.log",
    benchmark:
        "results/benchmarks/predict/{task}.{model}.{run}.tsv"
    shell:
        "visionfm predict --decoder {input.decoder:q} --samples {input.samples:q} --features {params.features:q}"
        " --out {output:q} --settings {params.settings:q} --log {log:q}"


rule evaluate:
    input:
        lambda w: [PLAN.predictions(w.task, w.model, run) for run in PLAN.runs(w.task)],
    output:
        "results/tasks/{task}/{model}/metrics.parquet",
    params:
        settings=lambda w: text(PLAN.evaluate_settings(w.task, w.model)),
        version=VERSIONS["evaluate"],
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    log:
        "results/logs/evaluate/{task}.{model}.log",
    benchmark:
        "results/benchmarks/evaluate/{task}.{model}.tsv"
    shell:
        "visionfm evaluate --predictions {input:q} --out {output:q} --settings {params.settings:q} --log {log:q}"
