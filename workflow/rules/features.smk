# Features: each image encoded once, and a task's samples, which point into the caches.


rule extract:
    input:
        images=shard_images,
        encoder="results/encoders/{encoder}/encoder.safetensors",
    output:
        "results/features/{encoder}/{dataset}.cls{size}{shard}.h5",
    log:
        "results/logs/extract/{encoder}/{dataset}.cls{size}{shard}.log",
    benchmark:
        "results/benchmarks/extract/{encoder}/{dataset}.cls{size}{shard}.tsv"
    conda:
        "../../environment.yml"
    threads: lambda w: JOBS.extract(w.encoder).threads
    resources:
        mem_mb=growing(
            lambda w: JOBS.extract(w.encoder).mem_mb,
            held=lambda w, input: extract_mb(
                PLAN.encoding.extract_settings(w.encoder, w.dataset), input.images
            ),
            asked=lambda w: CONFIG.encoders[w.encoder].resources,
        ),
        runtime=growing(lambda w: JOBS.extract(w.encoder).runtime_min),
    params:
        root=root,
        settings=text(lambda w: PLAN.encoding.extract_settings(w.encoder, w.dataset)),
        version=VERSIONS["extract"],
        launcher=started(lambda w: JOBS.extract(w.encoder)),
    shell:
        "{params.launcher} extract --images {input.images:q} --root {params.root:q} --encoder {input.encoder:q}"
        " --out {output:q} --settings {params.settings} --log {log:q}"


rule dense:
    input:
        images=shard_images,
        encoder="results/encoders/{encoder}/encoder.safetensors",
    output:
        "results/features/{encoder}/{dataset}.dense{size}{shard}.h5",
    log:
        "results/logs/dense/{encoder}/{dataset}.dense{size}{shard}.log",
    benchmark:
        "results/benchmarks/dense/{encoder}/{dataset}.dense{size}{shard}.tsv"
    conda:
        "../../environment.yml"
    threads: lambda w: JOBS.extract(w.encoder).threads
    resources:
        mem_mb=growing(lambda w: JOBS.extract(w.encoder).mem_mb),
        runtime=growing(lambda w: JOBS.extract(w.encoder).runtime_min),
    params:
        root=root,
        settings=text(
            lambda w: PLAN.encoding.dense_settings(w.encoder, w.dataset, int(w.size))
        ),
        version=VERSIONS["dense"],
        launcher=started(lambda w: JOBS.dense(w.encoder)),
    shell:
        "{params.launcher} dense --images {input.images:q} --root {params.root:q} --encoder {input.encoder:q}"
        " --out {output:q} --settings {params.settings} --log {log:q}"


rule export:
    input:
        "results/features/{encoder}/{dataset}.cls{size}{shard}.h5",
    output:
        "results/features/{encoder}/{dataset}.cls{size}{shard}.parquet",
    log:
        "results/logs/export/{encoder}/{dataset}.cls{size}{shard}.log",
    benchmark:
        "results/benchmarks/export/{encoder}/{dataset}.cls{size}{shard}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        version=VERSIONS["export"],
    shell:
        "visionfm export --features {input:q} --out {output:q} --log {log:q}"


rule fuse:
    input:
        labels=lambda w: paths(JOBS.labels(PLAN.task_datasets(w.task))),
        audit="results/tasks/{task}/audit.parquet",
    output:
        samples="results/tasks/{task}/{model}/samples.parquet",
        train="results/tasks/{task}/{model}/train.parquet",
    log:
        "results/logs/fuse/{task}.{model}.log",
    benchmark:
        "results/benchmarks/fuse/{task}.{model}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(2000, lambda w, input: held_mb("fuse", input.labels)),
        runtime=growing(30),
    params:
        labels=lambda w: named(JOBS.labels(PLAN.task_datasets(w.task))),
        settings=text(lambda w: PLAN.tasks.fuse_settings(w.task)),
        version=VERSIONS["fuse"],
    shell:
        "visionfm fuse --labels {params.labels:q} --audit {input.audit:q} --out {output.samples:q}"
        " --train-out {output.train:q} --settings {params.settings} --log {log:q}"


rule fuse_fold:
    input:
        labels=lambda w: paths(JOBS.labels(PLAN.task_datasets(w.task))),
        audit="results/tasks/{task}/audit.parquet",
    output:
        samples="results/tasks/{task}/{model}/{fold}/samples.parquet",
        train="results/tasks/{task}/{model}/{fold}/train.parquet",
    log:
        "results/logs/fuse/{task}.{model}.{fold}.log",
    benchmark:
        "results/benchmarks/fuse/{task}.{model}.{fold}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        labels=lambda w: named(JOBS.labels(PLAN.task_datasets(w.task))),
        settings=text(lambda w: PLAN.tasks.fuse_settings(w.task, w.fold)),
        version=VERSIONS["fuse"],
    shell:
        "visionfm fuse --labels {params.labels:q} --audit {input.audit:q} --out {output.samples:q}"
        " --train-out {output.train:q} --settings {params.settings} --log {log:q}"
