# How jobs meet machines: what the site asks of each, given to the jobs of every rule here and nowhere else. The site's
# own words come from the profile's `config` (slurm/config.yaml); without a profile they are unset.

import os
import signal

from snakemake.resources import Resource
from snakemake.shell import shell as shell_of_rules

from visionfm.project.config import Config
from visionfm.project.executor import hold_on_to_jobs
from visionfm.project.jobs import Needs
from visionfm.project.site import ASKED, given_options, read_site
from visionfm.runtime.scheduler import WARN_SECONDS

SITE = read_site(config, Config.model_fields)
if workflow.is_main_process:
    hold_on_to_jobs()
else:
    # The environment carries it: what stands in a rule's params would be reason to run it again.
    os.environ[WARN_SECONDS] = str(SITE.warn_seconds)
    # A person or a site may say so earlier, to every process of a job (`scancel --signal=USR1`). The stages answer it;
    # Snakemake, which stands above them in the job, would end by it and take them along.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
if SITE.prefix:
    shell_of_rules.prefix(SITE.prefix.replace("{", "{{").replace("}", "}}"))


def started(needs):
    """How a stage starts that has such needs."""
    return lambda wildcards, threads: launcher(
        needs(wildcards).gpus, needs(wildcards).nodes, threads
    )


def ask_of_the_site(job_rule):
    """Give a rule's jobs what the site asks. What the profile sets for this very rule stays as it is."""
    needs = JOBS.on_devices().get(job_rule.name, lambda wildcards: Needs(1, 0, 0))
    extra = given_options(job_rule.resources.get("slurm_extra").raw or "")
    set_here = workflow.resource_settings.overwrite_resources.get(job_rule.name, {})

    def asked(name, default):
        def resource(wildcards, input, attempt, threads, rulename, async_run):
            found = SITE.resources(needs(wildcards), extra)[name]
            if found is not None:
                return found
            given = {
                "input": input,
                "attempt": attempt,
                "threads": threads,
                "rulename": rulename,
                "async_run": async_run,
            }
            return default.evaluate(wildcards, **given).value

        return resource

    for name in ASKED:
        if name == "slurm_extra":  # joined with what the site and several nodes ask
            job_rule.resources[name] = asked(name, Resource(name, None))
        elif name not in set_here:
            job_rule.resources[name] = asked(name, job_rule.resources.get(name))
    if not SITE.memory:
        job_rule.resources["mem_mb"] = 0
