# Every person is tested once: the same data, divided in three in place of the table's own split.
cat > folds.yaml <<'END'
encoders:
  untrained: {modality: Fundus, weights: random, arch: vit_tiny_patch16_224, image_size: 96, device: cpu}
models:
  tiny: {Fundus: untrained}
datasets:
  clinic:
    modality: Fundus
    root: clinic
    layout: table
    table: truth.csv
    columns: {image: path, subject: subject, eye: eye, targets: {dr_grade: dr_grade}}
tasks:
  any_dr_folds:
    kind: classification
    datasets: [clinic]
    models: [tiny]
    baselines: []
    targets: {dr_grade: {type: binary, classes: {none: 0, retinopathy: [1, 2, 3, 4]}}}
    split: {folds: 3, validation: 0.2, stratify: true}
END
visionfm check folds.yaml
visionfm run folds.yaml --cores 2
