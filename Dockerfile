# syntax=docker/dockerfile:1

# An image of the node command with the topologies under examples/. For a binary of your own, replace ./cmd/node:
#
#   docker build -t troupe .
#   docker run --rm -v troupe-data:/data troupe --topology wordcount --brokers kafka:9092
#
# The Kafka client is librdkafka, linked in through cgo: both stages need the same C library, glibc.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -ldflags="-s -w" -o /out/node ./cmd/node

FROM debian:bookworm-slim
# Certificates of authorities, for brokers behind TLS.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --create-home troupe
COPY --from=build /out/node /usr/local/bin/node
COPY LICENSE NOTICE /usr/share/doc/troupe/
USER troupe
# Checkpoints and the identity of the node: keep it across restarts, one volume per node.
VOLUME /data
ENV TROUPE_DATA_DIR=/data
STOPSIGNAL SIGTERM
ENTRYPOINT ["node"]
