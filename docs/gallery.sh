#!/usr/bin/env bash
# Runs the tutorial and the how-to's that end in a report, and lays their pages into docs/gallery/ for the site.
set -euo pipefail
docs=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$docs/gallery" "$folder/tutorial"
cd "$folder/tutorial"
sed -n '/^```bash$/,/^```$/{/^```/d;p}' "$docs/tutorial.md" > tutorial.sh
bash -euo pipefail tutorial.sh
cp results/report/index.html "$docs/gallery/tutorial.html"
for name in external-validation folds compare-models; do
    cp -a "$folder/tutorial" "$folder/$name"
    cd "$folder/$name"
    bash -euo pipefail "$docs/how-to/$name.sh"
    cp results/report/index.html "$docs/gallery/$name.html"
done
