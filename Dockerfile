# docker build -t visionfm .                              CPU
# docker build -t visionfm:cuda --build-arg TORCH=cuda .  NVIDIA GPUs: torch as in requirements.lock
# docs/containers.md: Apptainer, and jobs of a cluster in a container.
ARG BASE=docker.io/library/debian:bookworm-slim
# hadolint ignore=DL3006
FROM ${BASE}
ARG TORCH=cpu

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libgomp1 procps python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

COPY requirements.lock requirements-dev.lock containers/install.sh /src/
RUN bash /src/install.sh packages "${TORCH}"

COPY . /src/visionfm/
RUN bash /src/install.sh project

# A number given by `--user` has no name here and no folder of its own; Snakemake asks for both.
ENV PATH=/opt/visionfm/bin:$PATH \
    USER=visionfm \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["visionfm"]
CMD ["--help"]
