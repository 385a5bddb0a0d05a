# One file for the four services: docker build --build-arg SERVICE=reranker -t ragline/reranker .
# Every stage below holds what changes at one pace, so that a change of code moves a layer of code and nothing else.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm
ARG SERVICE=preprocess

# --- tools: what builds, and never ships
FROM ${PYTHON_IMAGE} AS tools
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt ./
RUN python -m venv /tools \
 && /tools/bin/python -m pip install --quiet --constraint constraints.txt --upgrade pip

# --- requirements: only the lines of pyproject.toml that this service installs, so that no other line undoes the cache
# EXTRAS are extras of pyproject.toml, such as s3 for documents and batches in object storage.
FROM tools AS requirements
ARG SERVICE
ARG EXTRAS=
COPY pyproject.toml deploy/docker/requirements.py ./
RUN /tools/bin/python requirements.py pyproject.toml "${SERVICE}" ${EXTRAS} > requirements.txt \
 && /tools/bin/python requirements.py pyproject.toml build --only > build.txt

# --- dependencies: the environment of this service, without pip, tests and sources of other languages
FROM tools AS dependencies
COPY --from=requirements /build/requirements.txt ./
RUN python -m venv --without-pip /venv \
 && /tools/bin/python -m pip --python /venv/bin/python install --quiet --only-binary :all: \
      --constraint constraints.txt --requirement requirements.txt \
 && find /venv/lib -depth -type d \( -name tests -o -name include \) -path '*/site-packages/*' -exec rm -rf {} + \
 && find /venv/lib -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.a' -o -name '*.c' \
      -o -name '*.h' -o -name '*.hpp' -o -name '*.cpp' \) -delete

# --- code: this service, the kit and the code made from proto/, compiled
FROM tools AS code
COPY --from=requirements /build/build.txt ./
RUN /tools/bin/python -m pip install --quiet --constraint constraints.txt --requirement build.txt
WORKDIR /app
COPY proto proto
RUN mkdir -p ragline/v1 \
 && /tools/bin/python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. proto/ragline/v1/*.proto \
 && printf '"""Built from proto/; never edited."""\n' > ragline/v1/__init__.py \
 && rm -r proto
COPY --chmod=0755 deploy/docker/serve deploy/docker/ragline deploy/docker/probe.py bin/
COPY ragline ragline
COPY services/__init__.py services/__init__.py
ARG SERVICE
COPY services/${SERVICE} services/${SERVICE}
# By hash, not by time: the layer is the same for the same sources, and nothing is compiled again at the start.
RUN python -m compileall -q --invalidation-mode unchecked-hash -j 0 ragline services

# --- weights: only what fetches them is copied here, so that they are fetched, and pushed, once
FROM tools AS fetch
RUN /tools/bin/python -m pip install --quiet --constraint constraints.txt pydantic-settings python-dotenv
COPY ragline/__init__.py ragline/origins.py ragline/settings.py ragline/
COPY ragline/models ragline/models
COPY deploy/docker/pull.py ./

# The same steps and the same argument: images that need the same weights share one layer.
FROM fetch AS weights-preprocess
ARG MODELS=all-MiniLM-L6-v2
RUN /tools/bin/python pull.py /models ${MODELS}

FROM fetch AS weights-reranker
ARG MODELS=all-MiniLM-L6-v2
RUN /tools/bin/python pull.py /models ${MODELS}

FROM fetch AS weights-retriever
ARG MODELS=
RUN /tools/bin/python pull.py /models ${MODELS}

FROM fetch AS weights-generator
ARG MODELS=
RUN /tools/bin/python pull.py /models ${MODELS}

# One of the stages above, which hadolint takes for an image.
# hadolint ignore=DL3006
FROM weights-${SERVICE} AS weights

# --- the image
FROM ${PYTHON_IMAGE} AS service
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin ragline \
 && install -d -o ragline -g ragline -m 0750 /data
COPY --from=weights /models /models
COPY --from=dependencies /venv /venv
COPY --from=code /app /app
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ragline ${SERVICE}" \
      org.opencontainers.image.description="The ${SERVICE} service of Ragline, which answers questions from a team's own documents." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# gRPC's core writes past the log, and OpenMP's threads would wait for work at full speed.
ENV PATH=/app/bin:/venv/bin:${PATH} \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GRPC_VERBOSITY=ERROR \
    OMP_WAIT_POLICY=PASSIVE \
    HOME=/tmp \
    SERVICE=${SERVICE} \
    RAGLINE_DATA_DIR=/data \
    RAGLINE_MODELS_DIR=/models
# Each service reads its own of these; all that it listens on is reachable from outside the container.
ENV PREPROCESS_HOST=0.0.0.0 RETRIEVER_HOST=0.0.0.0 RERANKER_HOST=0.0.0.0 GENERATOR_HOST=0.0.0.0
WORKDIR /app
USER 10001:10001
EXPOSE 8001 8002 8003 8004 50051 50052 50053 50054
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=120s --retries=3 CMD ["python", "-IS", "/app/bin/probe.py"]
CMD ["serve"]
