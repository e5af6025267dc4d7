# Six photographs as an archive gives them out: DICOM files named by their UIDs, with a person and an eye in the header.
python - <<'END'
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

Path("archive").mkdir()
for at, path in enumerate(sorted(Path("clinic/FundusClassification").rglob("*.png"))[:6]):
    pixels = np.asarray(Image.open(path).convert("RGB"))
    about = pydicom.Dataset()
    about.SOPClassUID, about.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1", generate_uid(entropy_srcs=[str(at)])
    about.PatientID, about.ImageLaterality, about.StudyDate = f"p{at // 2}", "RL"[at % 2], "20240102"
    about.Rows, about.Columns, about.SamplesPerPixel, about.PlanarConfiguration = *pixels.shape[:2], 3, 0
    about.PhotometricInterpretation, about.PixelRepresentation = "RGB", 0
    about.BitsAllocated, about.BitsStored, about.HighBit = 8, 8, 7
    about.PixelData = pixels.tobytes()
    about.file_meta = pydicom.dataset.FileMetaDataset()
    about.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    about.file_meta.MediaStorageSOPClassUID = about.SOPClassUID
    about.file_meta.MediaStorageSOPInstanceUID = about.SOPInstanceUID
    about.save_as(f"archive/{about.SOPInstanceUID}.dcm", enforce_file_format=True)
END

cat > dicom.yaml <<'END'
encoders:
  untrained: {modality: Fundus, weights: random, arch: vit_tiny_patch16_224, image_size: 96, device: cpu}
models:
  tiny: {Fundus: untrained}
datasets:
  archive:
    modality: Fundus
    root: archive
    layout: table
    labels: none
    columns: {subject: dicom.PatientID, eye: dicom.ImageLaterality, visit: dicom.StudyDate}
    export: parquet
tasks: {}
END
visionfm check dicom.yaml
visionfm run dicom.yaml --cores 2
python -c "import pandas; print(pandas.read_parquet('results/datasets/archive/labels.parquet').to_string())"
