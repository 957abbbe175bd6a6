#!/bin/sh
# Build the program in tests/outside/go/NAME, or the tool that its go.mod names, as .cache/bin/NAME:
#   tests/outside/go/build.sh NAME
# go.sum has the hash of everything that it is built of.
set -eu
name=$1
cd "$(dirname "$0")/../../.."
root=$PWD
if ! command -v go >/dev/null; then
  echo "go is missing: tests that need $name will be skipped, and so will its services." >&2
  exit 1
fi
if ! (cd "tests/outside/go/$name" && go list -m) >/dev/null 2>&1; then
  echo "$(go version) is too old for $name, which needs 1.24: tests that need it will be skipped." >&2
  exit 1
fi
echo "Building $name, once …"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp "tests/outside/go/$name/"* "$scratch/"
cd "$scratch"
package=$(sed -n 's/^tool //p' go.mod)
go mod vendor
# Its releases are built from a working tree that has this file; its module lacks it, and what
# is built without it does not start.
if [ "$name" = ferretdb ]; then
  sed -n 's#.*github.com/FerretDB/FerretDB \(v[0-9.]*\).*#\1#p' go.mod \
    >vendor/github.com/FerretDB/FerretDB/build/version/version.txt
fi
mkdir -p "$root/.cache/bin"
go build -mod=vendor -buildvcs=false -trimpath -ldflags "-s -w" -o "$root/.cache/bin/$name.new" "${package:-.}"
mv "$root/.cache/bin/$name.new" "$root/.cache/bin/$name"
