# Fine-tuning: a run's own encoder and decoder, trained on the images, and the features that this encoder gives.

TUNED = [task for task in CONFIG.tasks if PLAN.is_finetuned(task)]


wildcard_constraints:
    tuned=one_of(TUNED),
    seed_run=rf"{OF_SEED}({OF_FOLD})?",


rule finetune:
    input:
        train=lambda w: PLAN.run_train_table(w.tuned, w.model, w.seed_run),
        encoder=lambda w: PLAN.encoder(PLAN.finetuned_from(w.tuned, w.model)),
    output:
        decoder="results/tasks/{tuned}/{model}/{seed_run}/decoder.safetensors",
        encoder="results/tasks/{tuned}/{model}/{seed_run}/encoder.safetensors",
        training="results/tasks/{tuned}/{model}/{seed_run}/training.parquet",
    log:
        "results/logs/finetune/{tuned}.{model}.{seed_run}.log",
    benchmark:
        "results/benchmarks/finetune/{tuned}.{model}.{seed_run}.tsv"
    conda:
        "../../environment.yml"
    threads: lambda w: JOBS.finetune(w.tuned).threads
    resources:
        mem_mb=growing(lambda w: JOBS.finetune(w.tuned).mem_mb),
        runtime=growing(lambda w: JOBS.finetune(w.tuned).runtime_min),
    params:
        roots=lambda w: named(JOBS.roots(CONFIG.tasks[w.tuned].datasets)),
        settings=text(
            lambda w: PLAN.tasks.finetune_settings(w.tuned, w.model, w.seed_run)
        ),
        version=VERSIONS["finetune"],
        launcher=started(lambda w: JOBS.finetune(w.tuned)),
    shell:
        "{params.launcher} finetune --train {input.train:q} --root {params.roots:q} --encoder {input.encoder:q}"
        " --out {output.decoder:q} --encoder-out {output.encoder:q} --training-out {output.training:q}"
        " --settings {params.settings} --log {log:q}"


rule extract_finetuned:
    input:
        images=shard_images,
        encoder="results/tasks/{tuned}/{model}/{seed_run}/encoder.safetensors",
    output:
        "results/tasks/{tuned}/{model}/{seed_run}/features/{dataset}.cls{size}{shard}.h5",
    log:
        "results/logs/extract/{tuned}.{model}.{seed_run}/{dataset}.cls{size}{shard}.log",
    benchmark:
        "results/benchmarks/extract/{tuned}.{model}.{seed_run}/{dataset}.cls{size}{shard}.tsv"
    conda:
        "../../environment.yml"
    threads: 4
    resources:
        mem_mb=growing(
            8000,
            lambda w, input: extract_mb(
                PLAN.tasks.run_extract_settings(w.tuned, w.model, w.dataset),
                input.images,
            ),
        ),
        runtime=growing(240),
    params:
        root=root,
        settings=text(
            lambda w: PLAN.tasks.run_extract_settings(w.tuned, w.model, w.dataset)
        ),
        version=VERSIONS["extract"],
        launcher=started(lambda w: JOBS.extract_finetuned(w.tuned)),
    shell:
        "{params.launcher} extract --images {input.images:q} --root {params.root:q} --encoder {input.encoder:q}"
        " --out {output:q} --settings {params.settings} --log {log:q}"


ruleorder: finetune > train
