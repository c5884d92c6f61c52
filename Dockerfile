FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY pkg pkg
ARG VERSION=dev
ARG COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath \
    -ldflags "-s -w -X github.com/fleet-handshake/fleet-handshake/pkg/version.Version=${VERSION} -X github.com/fleet-handshake/fleet-handshake/pkg/version.Commit=${COMMIT}" \
    -o /fleet-handshake ./cmd/fleet-handshake

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /fleet-handshake /fleet-handshake
USER 65534:65534
ENTRYPOINT ["/fleet-handshake"]
