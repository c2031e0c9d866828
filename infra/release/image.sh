#!/bin/sh
# The steps of a release of the image. The workflow release.yml runs them; `build` needs nothing of it.
#
#   IMAGE         registry and name, for example registry.example.com/tokenseal
#   VERSION       the tag, for example v0.1.0
#   REVISION      the commit
#   ARCHITECTURE  amd64 or arm64, for build and push
#   REGISTRY_USER, REGISTRY_TOKEN   for push and sign
set -eu
: "${IMAGE:?}" "${VERSION:?}" "${REVISION:?}"
image=$(printf %s "$IMAGE" | tr '[:upper:]' '[:lower:]')
version=${VERSION#v}

log_in() {
    printf %s "${REGISTRY_TOKEN:?}" | docker login --username "${REGISTRY_USER:?}" --password-stdin "${image%%/*}"
}

# Attestations need a builder of their own.
build() {
    docker buildx create --use --name tokenseal-release >/dev/null 2>&1 || docker buildx use tokenseal-release
    docker buildx build --platform "linux/${ARCHITECTURE:?}" --provenance=mode=max --sbom=true \
        --build-arg "VERSION=$version" --build-arg "REVISION=$REVISION" --tag "$image:$version-$ARCHITECTURE" "$@" .
}

# One index over both architectures, which keeps the attestations of each; it is signed with all that it names.
sign() {
    docker buildx imagetools create --tag "$image:$version" "$image:$version-amd64" "$image:$version-arm64"
    digest=$(docker buildx imagetools inspect "$image:$version" --format '{{.Manifest.Digest}}')
    cosign sign --yes --recursive "$image@$digest"
    echo "released $image:$version@$digest"
}

case ${1:-} in
    build) build --output type=cacheonly ;;
    push) log_in; build --push ;;
    sign) log_in; sign ;;
    *) echo "usage: image.sh build|push|sign" >&2; exit 2 ;;
esac
