# The report (one page, its summary, the union of all metrics, an archive of the figures) and the paper's files.
# Snakemake's own report has them.

from visionfm.report import data as report_data


rule report:
    input:
        report_data.inputs(PLAN),
    output:
        page=report(PLAN.report, caption="../report/page.rst", category="Report"),
        summary=report(PLAN.summary, caption="../report/summary.rst", category="Report"),
        metrics=report(
            PLAN.report_metrics, caption="../report/metrics.rst", category="Metrics"
        ),
        figures=report(
            PLAN.figures, caption="../report/figures.rst", category="Figures"
        ),
        tasks=PLAN.task_pages,
    log:
        "results/logs/report/report.log",
    benchmark:
        "results/benchmarks/report/report.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000, lambda w, input: held_mb("report", input)),
        runtime=growing(60),
    params:
        settings=text(lambda w: PLAN.report_settings()),
        version=VERSIONS["report"],
    shell:
        "visionfm report --out {output.page:q} --summary-out {output.summary:q} --metrics-out {output.metrics:q}"
        " --figures-out {output.figures:q} --tasks-out {output.tasks:q}"
        " --settings {params.settings} --log {log:q}"


rule paper:
    input:
        report_data.inputs(PLAN),
    output:
        report(PLAN.paper, caption="../report/paper.rst", category="Report"),
    log:
        "results/logs/paper/paper.log",
    benchmark:
        "results/benchmarks/paper/paper.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000, lambda w, input: held_mb("paper", input)),
        runtime=growing(60),
    params:
        settings=text(lambda w: PLAN.paper_settings()),
        version=VERSIONS["paper"],
    shell:
        "visionfm paper --out {output:q} --settings {params.settings} --log {log:q}"
