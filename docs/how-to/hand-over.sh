visionfm package results/tasks/any_dr/tiny --intended-use "A demonstration on drawn eyes" --out any_dr.vfm

# At a colleague's: the package, photographs, and an installed visionfm.
mkdir -p photos
cp clinic/FundusClassification/dataset_A/test/*.png photos/
visionfm predict --model any_dr.vfm photos/ --out answers.csv
head -3 answers.csv

python - <<'END'
import visionfm

model = visionfm.load_model("any_dr.vfm", device="cpu")
print(model.predict("photos/").head(2).T)
END
