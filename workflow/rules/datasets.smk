# Datasets: what images there are, their labels and splits, and an audit for each task.


rule index:
    output:
        "results/datasets/{dataset}/images{shard}.parquet",
    log:
        "results/logs/index/{dataset}{shard}.log",
    benchmark:
        "results/benchmarks/index/{dataset}{shard}.tsv"
    priority: 3 * EARLY  # it takes two cores: more than two EARLY jobs of one core
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        root=root,
        settings=text(lambda w: PLAN.data.index_settings(w.dataset, w.shard)),
        version=VERSIONS["index"],
        images=lambda w: outside(
            f"images_{w.dataset}", lambda: JOBS.images_state(w.dataset)
        ),
    shell:
        "visionfm index --root {params.root:q} --out {output:q} --jobs {threads}"
        " --settings {params.settings} --log {log:q}"


rule label:
    input:
        images=lambda w: PLAN.images(w.dataset),
        like=lambda w: JOBS.split_leader(w.dataset),
    output:
        "results/datasets/{dataset}/labels.parquet",
    log:
        "results/logs/label/{dataset}.log",
    benchmark:
        "results/benchmarks/label/{dataset}.tsv"
    priority: EARLY
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(2000, lambda w, input: held_mb("label", input.images)),
        runtime=growing(30),
    params:
        root=root,
        like=lambda w, input: f"--like {input.like}" if input.like else "",
        settings=text(lambda w: PLAN.data.label_settings(w.dataset)),
        version=VERSIONS["label"],
        labels=lambda w: outside(
            f"labels_{w.dataset}", lambda: JOBS.labels_state(w.dataset)
        ),
    shell:
        "visionfm label --root {params.root:q} --images {input.images:q} {params.like} --out {output:q}"
        " --settings {params.settings} --log {log:q}"


rule audit:
    input:
        images=lambda w: paths(JOBS.images(PLAN.audited_datasets(w.task))),
        labels=lambda w: paths(JOBS.labels(PLAN.audited_datasets(w.task))),
    output:
        "results/tasks/{task}/audit.parquet",
    log:
        "results/logs/audit/{task}.log",
    benchmark:
        "results/benchmarks/audit/{task}.tsv"
    priority: EARLY
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(
            2000, lambda w, input: held_mb("audit", [*input.images, *input.labels])
        ),
        runtime=growing(30),
    params:
        images=lambda w: named(JOBS.images(PLAN.audited_datasets(w.task))),
        labels=lambda w: named(JOBS.labels(PLAN.audited_datasets(w.task))),
        settings=text(lambda w: PLAN.data.audit_settings(w.task)),
        version=VERSIONS["audit"],
    shell:
        "visionfm audit --images {params.images:q} --labels {params.labels:q} --out {output:q}"
        " --settings {params.settings} --log {log:q}"
