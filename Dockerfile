# The three programs and nothing else: no shell, no package manager, no root. Built from the repository's root:
#   docker build --tag tokenseal:0.1.0 .
# The index of all architectures, so that the same line serves each.
FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build

# Build dependencies of the TLS library's C code.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates cmake make gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /source
COPY . .
# The image's own toolchain, not the one that rust-toolchain.toml would fetch.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN cargo build --release --locked --package migrate-cli --package tokenseal-agent --bins

# A root file system of the programs, the libraries that they are linked to, certificates, and a user.
RUN set -eu; \
    root=/root-file-system; \
    install -D -m 0755 -t "$root/usr/local/bin" target/release/migrate-tokens target/release/manage-secrets target/release/tokenseal-agent; \
    for library in $(ldd target/release/migrate-tokens target/release/manage-secrets target/release/tokenseal-agent | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do \
        install -D -m 0755 "$library" "$root$library"; \
    done; \
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"; \
    echo 'hosts: files dns' > "$root/etc/nsswitch.conf"; \
    echo 'tokenseal:x:65532:65532::/nonexistent:/sbin/nologin' > "$root/etc/passwd"; \
    echo 'tokenseal:x:65532:' > "$root/etc/group"

FROM scratch
# checkov:skip=CKV_DOCKER_2:the programs run to their end or answer /healthz; there is no shell that could ask them

COPY --from=build /root-file-system /
USER 65532:65532
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tokenseal" \
      org.opencontainers.image.description="migrate-tokens, manage-secrets and tokenseal-agent: envelope encryption of tokens and secrets" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
ENTRYPOINT ["/usr/local/bin/migrate-tokens"]
CMD ["--help"]
