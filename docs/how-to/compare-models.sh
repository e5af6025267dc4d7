# A second encoder, which sees smaller images, on the same people.
cat > second.yaml <<'END'
encoders:
  smaller: {modality: Fundus, weights: random, arch: vit_tiny_patch16_224, image_size: 64, device: cpu}
models:
  small: {Fundus: smaller}
tasks:
  any_dr: {models: [tiny, small]}
END
visionfm check clinic.yaml second.yaml
visionfm run clinic.yaml second.yaml --cores 2

python - <<'END'
import visionfm

print(visionfm.read_results("results").comparison.to_string())
END
