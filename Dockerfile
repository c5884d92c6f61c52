# Builds the image that scripts/package makes, for those who build with Docker: the same binary, user and labels.
# With the version, commit and Go version that scripts/package had, the binary has the same bytes.
#   docker build --build-arg VERSION=0.1.0 --build-arg COMMIT=$(git rev-parse --short=12 HEAD) .
# The image has no CA certificates: the operator takes the CA of the hub from its service account.
ARG GO_VERSION=1.26
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY scripts scripts
COPY cmd cmd
COPY pkg pkg
ARG VERSION=0.0.0-dev
ARG COMMIT=unknown
ARG TARGETOS
ARG TARGETARCH
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH VERSION=v$VERSION BINARY=/out/fleet-handshake ./scripts/build
# The generator of the SBOM asks git for the version.
RUN git init -q && git add -A && git -c user.name=build -c user.email=build@localhost commit -q -m build && \
    git tag "v$VERSION" && \
    ./scripts/sbom $TARGETOS $TARGETARCH /out/fleet-handshake.cdx.json

FROM scratch
ARG VERSION=0.0.0-dev
ARG COMMIT=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="fleet-handshake" \
      org.opencontainers.image.description="Sends Secrets of the Rancher hub to downstream clusters through Fleet" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.source="https://github.com/fleet-handshake/fleet-handshake" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /out/fleet-handshake /fleet-handshake
COPY --from=build /out/fleet-handshake.cdx.json /fleet-handshake.cdx.json
USER 65534:65534
ENTRYPOINT ["/fleet-handshake"]
