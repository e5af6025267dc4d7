cat results/report/summary.md

python - <<'END'
import visionfm

found = visionfm.read_results("results")
test = found.metrics[(found.metrics["split"] == "test") & (found.metrics["run"] == "seed0")]
print(test[["task", "metric", "class", "value", "ci_low", "ci_high", "n", "n_subjects", "reason"]].head(30).to_string())
print(found.predictions.head(3).T)
END

visionfm verify results
visionfm du
