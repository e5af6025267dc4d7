# Packs: a dataset's images, pre-shrunk, in few large files. The index is the output; the data files it names lie beside it.


rule pack:
    input:
        shard_images,
    output:
        "results/packs/{dataset}/{size}px{shard}.parquet",
    log:
        "results/logs/pack/{dataset}.{size}px{shard}.log",
    benchmark:
        "results/benchmarks/pack/{dataset}.{size}px{shard}.tsv"
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        mem_mb=growing(8000),
        runtime=growing(480),
    params:
        root=root,
        settings=text(lambda w: PLAN.pretraining.pack_settings(w.dataset)),
        version=VERSIONS["pack"],
    shell:
        "visionfm pack --images {input:q} --root {params.root:q} --out {output:q} --jobs {threads}"
        " --settings {params.settings} --log {log:q}"
