# A hospital's export: semicolons, its own names of columns, codes for eyes, an eye without a grade.
python - <<'END'
import csv

with open("clinic/truth.csv") as read, open("clinic/export.csv", "w", newline="") as written:
    out = csv.writer(written, delimiter=";")
    out.writerow(["Bild", "Patient", "Auge", "Grad"])
    for at, row in enumerate(csv.DictReader(read)):
        out.writerow([row["path"], row["subject"], {"R": 1, "L": 2}[row["eye"]], "" if at == 7 else row["dr_grade"]])
END

visionfm init clinic --table clinic/export.csv --target Grad --out guessed.yaml

cat > own-table.yaml <<'END'
encoders:
  untrained: {modality: Fundus, weights: random, arch: vit_tiny_patch16_224, image_size: 96, device: cpu}
models:
  tiny: {Fundus: untrained}
datasets:
  clinic:
    modality: Fundus
    root: clinic
    layout: table
    table: export.csv
    columns: {image: Bild, subject: Patient, eye: {column: Auge, values: {1: R, 2: L}}, targets: {grade: Grad}}
    split: {validation: 0.2, test: 0.25, stratify: grade}
tasks:
  grade: {kind: ordinal, datasets: [clinic], models: [tiny], targets: {grade: {classes: 5}}}
END
visionfm check own-table.yaml --explain
