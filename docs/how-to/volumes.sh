# Eight volumes of six slices each, one multi-page TIFF for each eye, with a label for each volume.
python - <<'END'
import csv
from pathlib import Path

from PIL import Image

drawn = sorted(Path("clinic/FundusClassification").rglob("*.png"))
Path("scans").mkdir()
with open("scans/grades.csv", "w", newline="") as written:
    out = csv.writer(written)
    out.writerow(["file", "patient", "eye", "fluid"])
    for at in range(8):
        first, *others = (Image.open(path).convert("L") for path in drawn[6 * at : 6 * at + 6])
        first.save(f"scans/{at:02d}.tif", save_all=True, append_images=others)
        out.writerow([f"{at:02d}.tif", f"p{at // 2}", "RL"[at % 2], at % 2])
END

cat > volumes.yaml <<'END'
encoders:
  untrained: {modality: OCT, weights: random, arch: vit_tiny_patch16_224, image_size: 96, device: cpu}
models:
  tiny: {OCT: untrained}
datasets:
  scans:
    modality: OCT
    root: scans
    layout: table
    table: grades.csv
    frames: {every: 2}
    columns: {image: file, subject: patient, eye: eye, targets: {fluid: fluid}}
    export: parquet
tasks: {}
END
visionfm check volumes.yaml
visionfm run volumes.yaml --cores 2
python -c "import pandas; print(pandas.read_parquet('results/datasets/scans/labels.parquet').to_string())"
