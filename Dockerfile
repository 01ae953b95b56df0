# docker build -t breakerd .
# docker run -p 50051:50051 -p 8080:8080 -v breakerd:/var/lib/breakerd breakerd

FROM rust:1.95-slim-bookworm AS build
# The bundled SQLite and ring are C: the linker of the base image is not enough.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin breakerd && cp target/release/breakerd /breakerd
# An empty folder that the user below owns: a new volume takes its owner from it.
RUN mkdir /data

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="breakerd" \
    org.opencontainers.image.description="The central circuit breaker service" \
    org.opencontainers.image.source="https://github.com/breakerd/breakerd" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /breakerd /usr/local/bin/breakerd
COPY --from=build /src/breakerd.toml /etc/breakerd/breakerd.toml
COPY --from=build --chown=65532:65532 /data /var/lib/breakerd
# Inside a container loopback would reach nobody.
ENV BREAKERD_CONFIG=/etc/breakerd/breakerd.toml \
    BREAKERD_GRPC_LISTEN=0.0.0.0:50051 \
    BREAKERD_HTTP_LISTEN=0.0.0.0:8080 \
    BREAKERD_DATA_DIR=/var/lib/breakerd
USER 65532:65532
EXPOSE 50051 8080
VOLUME /var/lib/breakerd
# No shell and no curl here: the program asks itself. With TLS, say `-e BREAKERD_ADDRESS=https://NAME:50051`, NAME as the
# certificate has it, and `-e BREAKERD_CA=FILE` when its authority is your own; docs/cli.md has the variables of the rest.
# Kubernetes has probes of its own and does not look at this.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["/usr/local/bin/breakerd", "healthcheck", "--timeout", "2s"]
ENTRYPOINT ["/usr/local/bin/breakerd"]
CMD ["serve"]
