# syntax=docker/dockerfile:1
# An image with one static binary and one model, and nothing else: no shell, no libraries, no Python.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY benches benches
COPY src src
COPY models models
RUN RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --profile dist --locked --target x86_64-unknown-linux-gnu

FROM scratch
COPY --from=build /src/target/x86_64-unknown-linux-gnu/dist/dermal /dermal
COPY models/demo.safetensors /model.safetensors
# Memory of photos goes back to the system as soon as they are answered (docs/estimating.md).
ENV MALLOC_MMAP_THRESHOLD_=131072
USER 65532:65532
# The server listens on 0.0.0.0:$PORT, which hosting platforms set. Give them `/health` as the health check: it
# is 503 until the model is loaded. There is no HEALTHCHECK, because the image has no shell and no curl.
ENTRYPOINT ["/dermal"]
CMD ["serve", "/model.safetensors", "--preload"]
