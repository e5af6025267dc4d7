# Stands for a file that you were given: the weights of a ViT as timm names them.
python - <<'END'
import timm
import torch

torch.manual_seed(0)
torch.save(timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=96).state_dict(), "mine.pth")
END

# The layouts that are known, and the features of a folder, without a config.
visionfm encoders
visionfm embed clinic/FundusClassification/dataset_A/test/s000* --encoder mine.pth --arch vit_tiny_patch16_224 \
    --modality Fundus --statistics imagenet --size 96 --device cpu --out mine.parquet

cat > mine.yaml <<'END'
encoders:
  mine: {modality: Fundus, weights: mine.pth, arch: vit_tiny_patch16_224, image_size: 96, statistics: imagenet, device: cpu}
models:
  tiny: {Fundus: mine}
END
visionfm check clinic.yaml mine.yaml --explain
visionfm run clinic.yaml mine.yaml -n
