# Encoders: which file the weights are, and the encoder made from them.


rule checksum:
    input:
        lambda w: JOBS.made_weights(w.encoder),
    output:
        "results/encoders/{encoder}/weights.json",
    log:
        "results/logs/checksum/{encoder}.log",
    benchmark:
        "results/benchmarks/checksum/{encoder}.tsv"
    priority: EARLY
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        weights=lambda w: PLAN.weights_file(w.encoder),
        version=VERSIONS["checksum"],
        state=lambda w: (
            JOBS.made_weights(w.encoder)
            or outside(f"weights_{w.encoder}", lambda: JOBS.weights_state(w.encoder))
        ),
    shell:
        "visionfm checksum --weights {params.weights:q} --out {output:q} --log {log:q}"


rule pretrain:
    input:
        images=lambda w: paths(JOBS.images(PLAN.pretraining_sets(w.encoder))),
        packs=lambda w: paths(JOBS.packs(PLAN.pretraining_sets(w.encoder))),
        sum=lambda w: PLAN.weights_sum(w.encoder),
        labels=lambda w: JOBS.knn_labels(w.encoder),
    output:
        encoder="results/encoders/{encoder}/encoder.safetensors",
        training="results/encoders/{encoder}/training.parquet",
    log:
        "results/logs/pretrain/{encoder}.log",
    benchmark:
        "results/benchmarks/pretrain/{encoder}.tsv"
    wildcard_constraints:
        encoder=one_of(PLAN.pretrained()),
    conda:
        "../../environment.yml"
    threads: lambda w: JOBS.pretrain(w.encoder).threads
    resources:
        mem_mb=growing(
            lambda w: JOBS.pretrain(w.encoder).mem_mb,
            held=lambda w, input: held_mb(
                "pretrain", input.images, max(1, JOBS.pretrain(w.encoder).gpus)
            ),
            asked=lambda w: PLAN.pretraining.block(w.encoder).resources,
        ),
        # Does not grow: at its limit a training goes back to the queue and on from there.
        runtime=lambda w: JOBS.pretrain(w.encoder).runtime_min,
    params:
        images=lambda w: named(JOBS.images(PLAN.pretraining_sets(w.encoder))),
        packs=lambda w: named(JOBS.packs(PLAN.pretraining_sets(w.encoder))),
        root=lambda w: named(JOBS.roots(PLAN.pretraining_sets(w.encoder))),
        sum=lambda w: [f"--weights-sum={path}" for path in PLAN.weights_sum(w.encoder)],
        knn=lambda w: JOBS.knn_flags(w.encoder),
        settings=text(lambda w: PLAN.pretraining.pretrain_settings(w.encoder)),
        version=VERSIONS["pretrain"],
        launcher=started(lambda w: JOBS.pretrain(w.encoder)),
    shell:
        "{params.launcher} pretrain --images {params.images:q} --root {params.root:q} --pack {params.packs:q}"
        " {params.sum:q} {params.knn:q} --out {output.encoder:q} --training-out {output.training:q}"
        " --settings {params.settings} --log {log:q}"


rule measure:
    input:
        images=lambda w: paths(JOBS.images(PLAN.measured_datasets(w.encoder))),
        labels=lambda w: paths(JOBS.measured_labels(w.encoder)),
    output:
        "results/encoders/{encoder}/statistics.json",
    log:
        "results/logs/measure/{encoder}.log",
    benchmark:
        "results/benchmarks/measure/{encoder}.tsv"
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        images=lambda w: named(JOBS.images(PLAN.measured_datasets(w.encoder))),
        labels=lambda w: named(JOBS.measured_labels(w.encoder)),
        root=lambda w: named(JOBS.roots(PLAN.measured_datasets(w.encoder))),
        settings=text(lambda w: PLAN.pretraining.measure_settings(w.encoder)),
        version=VERSIONS["measure"],
    shell:
        "visionfm measure --images {params.images:q} --labels {params.labels:q} --root {params.root:q} --out {output:q}"
        " --settings {params.settings} --log {log:q}"


rule import_encoder:
    input:
        sum=lambda w: PLAN.weights_sum(w.encoder),
        statistics=lambda w: PLAN.statistics(w.encoder),
    output:
        "results/encoders/{encoder}/encoder.safetensors",
    log:
        "results/logs/import/{encoder}.log",
    benchmark:
        "results/benchmarks/import/{encoder}.tsv"
    wildcard_constraints:
        encoder=one_of([e for e in CONFIG.encoders if e not in PLAN.pretrained()]),
    priority: EARLY
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(30),
    params:
        sum=lambda w: [f"--weights-sum={path}" for path in PLAN.weights_sum(w.encoder)],
        measured=lambda w: [
            f"--statistics={path}" for path in PLAN.statistics(w.encoder)
        ],
        settings=text(lambda w: PLAN.encoding.import_settings(w.encoder)),
        version=VERSIONS["import"],
    shell:
        "visionfm import {params.sum:q} {params.measured:q} --out {output:q}"
        " --settings {params.settings} --log {log:q}"
