#!/usr/bin/env bash
# Runs the tutorial and the how-to's that end in a report, and lays their pages into docs/gallery/ for the site.
set -euo pipefail
docs=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
keep() { # the page, and the files that it links to
    mkdir -p "$docs/gallery/$1"
    cp -r results/report/index.html results/report/figures results/report/tasks "$docs/gallery/$1/"
}
mkdir -p "$docs/gallery" "$folder/tutorial"
cd "$folder/tutorial"
sed -n '/^```bash$/,/^```$/{/^```/d;p}' "$docs/tutorial.md" > tutorial.sh
bash -euo pipefail tutorial.sh
keep tutorial
for name in external-validation folds compare-models; do
    cp -a "$folder/tutorial" "$folder/$name"
    cd "$folder/$name"
    bash -euo pipefail "$docs/how-to/$name.sh"
    keep "$name"
done
