# Encoders: which file the weights are, and the encoder made from them.


rule checksum:
    input:
        made_weights,
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
        weights=weights,
        version=VERSIONS["checksum"],
        state=lambda w: (
            made_weights(w)
            or outside(f"weights_{w.encoder}", lambda: file_state(Path(weights(w))))
        ),
    shell:
        "visionfm checksum --weights {params.weights:q} --out {output:q} --log {log:q}"


rule pretrain:
    input:
        images=lambda w: of_all(pretrain_images(w)),
        packs=lambda w: of_all(pretrain_packs(w)),
        sum=lambda w: PLAN.weights_sum(w.encoder),
        labels=knn_labels,
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
    threads: lambda w: given(PLAN.pretraining.block(w.encoder).resources, "threads", 8)
    resources:
        **devices(pretrain_gpus, pretrain_nodes),
        mem_mb=pretrain_resource("mem_mb", 32000),
        # Does not grow: at its limit a training goes back to the queue and on from there.
        runtime=lambda w: given(PLAN.pretraining.block(w.encoder).resources, "runtime", 1440),
    params:
        images=lambda w: named(pretrain_images(w)),
        packs=lambda w: named(pretrain_packs(w)),
        root=lambda w: [f"{d}={CONFIG.datasets[d].root}" for d in pretrain_images(w)],
        sum=lambda w: [f"--weights-sum={path}" for path in PLAN.weights_sum(w.encoder)],
        knn=knn_flags,
        settings=lambda w: text(PLAN.pretraining.pretrain_settings(w.encoder)),
        version=VERSIONS["pretrain"],
        launcher=lambda w, threads: launcher(
            pretrain_gpus(w), pretrain_nodes(w), threads
        ),
    shell:
        "{params.launcher} pretrain --images {params.images:q} --root {params.root:q} --pack {params.packs:q}"
        " {params.sum:q} {params.knn:q} --out {output.encoder:q} --training-out {output.training:q}"
        " --settings {params.settings:q} --log {log:q}"


rule measure:
    input:
        images=lambda w: [
            path for d in PLAN.measured_datasets(w.encoder) for path in PLAN.images(d)
        ],
        labels=lambda w: [
            PLAN.labels(d)
            for d in PLAN.measured_datasets(w.encoder)
            if d not in CONFIG.encoders[w.encoder].trained_on
        ],
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
        images=lambda w: [
            f"{d}={path}"
            for d in PLAN.measured_datasets(w.encoder)
            for path in PLAN.images(d)
        ],
        labels=lambda w: [
            f"{d}={PLAN.labels(d)}"
            for d in PLAN.measured_datasets(w.encoder)
            if d not in CONFIG.encoders[w.encoder].trained_on
        ],
        root=lambda w: [
            f"{d}={CONFIG.datasets[d].root}" for d in PLAN.measured_datasets(w.encoder)
        ],
        settings=lambda w: text(PLAN.pretraining.measure_settings(w.encoder)),
        version=VERSIONS["measure"],
    shell:
        "visionfm measure --images {params.images:q} --labels {params.labels:q} --root {params.root:q} --out {output:q}"
        " --settings {params.settings:q} --log {log:q}"


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
        settings=lambda w: text(PLAN.encoding.import_settings(w.encoder)),
        version=VERSIONS["import"],
    shell:
        "visionfm import {params.sum:q} {params.measured:q} --out {output:q}"
        " --settings {params.settings:q} --log {log:q}"
