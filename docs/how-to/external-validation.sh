# Another hospital: other people, drawn with another seed.
visionfm synth --task single_cls --modalities Fundus --number 20 --size 96 --seed 7 --out elsewhere

cat > external.yaml <<'END'
datasets:
  elsewhere:
    modality: Fundus
    root: elsewhere
    layout: table
    table: truth.csv
    columns: {image: path, subject: subject, eye: eye, targets: {dr_grade: dr_grade}}
tasks:
  any_dr: {external: [elsewhere]}
END
visionfm check clinic.yaml external.yaml
visionfm run clinic.yaml external.yaml --cores 2

python - <<'END'
import visionfm

metrics = visionfm.read_results("results").metrics
shown = metrics[(metrics["run"] == "seed0") & (metrics["metric"] == "auroc")]
print(shown[["task", "dataset", "split", "value", "ci_low", "ci_high", "n", "n_subjects"]].to_string())
END
