# The report: one page, the union of all metrics, and the figures, which Snakemake's own report shows too.


def reported(wildcards):
    pairs = PLAN.task_models()
    return (
        [PLAN.metrics(task, model) for task, model in pairs]
        + [path for task, model in pairs for run in PLAN.runs(task) for path in (PLAN.predictions(task, model, run), PLAN.training(task, model, run))]
        + [PLAN.audit(task) for task in CONFIG.tasks]
        + [path for dataset in CONFIG.datasets for path in [*PLAN.images(dataset), PLAN.labels(dataset)]]
        + [PLAN.encoder(encoder) for encoder in dict.fromkeys(encoder for encoder, _ in PLAN.extractions())]
    )


rule report:
    input:
        reported,
    output:
        page=report(PLAN.report, caption="../report/page.rst", category="Report"),
        metrics=PLAN.report_metrics,
        figures=[
            report(PLAN.figure(task, model), caption="../report/figures.rst", category="Figures", labels={"task": task, "model": model})
            for task, model in PLAN.task_models()
        ],
    params:
        settings=text(PLAN.report_settings()),
        version=VERSIONS["report"],
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    log:
        "results/logs/report/report.log",
    benchmark:
        "results/benchmarks/report/report.tsv"
    shell:
        "visionfm report --out {output.page:q} --metrics-out {output.metrics:q} --figures-dir results/report/figures"
        " --settings {params.settings:q} --log {log:q}"
