# Encoders: which file the weights are, and the encoder made from them.


rule checksum:
    output:
        "results/encoders/{encoder}/weights.json",
    log:
        "results/logs/checksum/{encoder}.log",
    benchmark:
        "results/benchmarks/checksum/{encoder}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        weights=weights,
        version=VERSIONS["checksum"],
        state=lambda w: outside(lambda: file_state(Path(weights(w)))),
    shell:
        "visionfm checksum --weights {params.weights:q} --out {output:q} --log {log:q}"


rule import_encoder:
    input:
        sum=lambda w: PLAN.weights_sum(w.encoder),
    output:
        "results/encoders/{encoder}/encoder.safetensors",
    log:
        "results/logs/import/{encoder}.log",
    benchmark:
        "results/benchmarks/import/{encoder}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(30),
    params:
        sum=lambda w: [f"--weights-sum={path}" for path in PLAN.weights_sum(w.encoder)],
        settings=lambda w: text(PLAN.import_settings(w.encoder)),
        version=VERSIONS["import"],
    shell:
        "visionfm import {params.sum:q} --out {output:q}"
        " --settings {params.settings:q} --log {log:q}"
