# Every person is tested once: the same people, divided in three in place of the table's own split.
cat > folds.yaml <<'END'
tasks:
  any_dr_folds:
    kind: classification
    datasets: [clinic]
    models: [tiny]
    baselines: []
    targets: {dr_grade: {type: binary, classes: {none: 0, retinopathy: [1, 2, 3, 4]}}}
    split: {folds: 3, validation: 0.2, stratify: true}
END
visionfm check clinic.yaml folds.yaml
visionfm run clinic.yaml folds.yaml --cores 2
