"""The sections of docs/config.md: for each block of the config what it is, and an example.

A test puts the examples together and checks that they are one valid config.
"""

from visionfm.config.base import Resources, Statistics
from visionfm.config.sections import RecipeTable, Section
from visionfm.data.block import Dataset, Ids, Pack, Split
from visionfm.data.layouts.columns import (
    Columns,
    EventColumn,
    EyeColumn,
    GroupColumn,
    SplitColumn,
    SubjectColumn,
    TargetColumn,
    VisitColumn,
)
from visionfm.data.tables.block import TableFile
from visionfm.encoders.adapters import Lora
from visionfm.images.settings import EveryFrame, MiddleFrames
from visionfm.pretraining.block import Knn, Pretrain
from visionfm.pretraining.recipe import FAMILIES, Augment
from visionfm.pretraining.recipe import RECIPES as PRETRAINING
from visionfm.project.config import Encoder, ModalityBlock, ReportBlock
from visionfm.project.study import Study
from visionfm.tasks import KINDS
from visionfm.tasks.block import TaskBlock, TaskSplit, Training
from visionfm.tasks.finetuning.block import Trainable
from visionfm.tasks.maps.block import DenseCache

PRETRAINING_FAMILIES = {  # recipes of one family, with what stands above their table
    ("published", "modern"): "Recipes with a teacher that follows the student:",
    ("token_reconstruction",): "Continued from given weights, tokens of a disturbed image:",
    ("instances",): "Continued from given weights, each image a class of its own:",
}

SECTIONS = (
    Section(
        ReportBlock,
        "report",
        "What of patients stands on the page, its summary and its figures, which people mail and print. By default "
        "nothing does: no image, no name of a file, no id of a subject, no absolute folder. An image is then called "
        "by the first signs of its `image_id`, with which images.parquet names the file. Names of tasks, datasets, "
        "classes and columns, the title and your reasons for `allow_leakage` stand there as you wrote them.",
        """
report: {pictures: examples, ids: hidden}
""",
    ),
    Section(
        Study,
        "study",
        "With this block, empty or not, a run also writes `results/report/paper/`: methods, tables, figures, "
        "checklists and references. It holds what only the authors know, in sentences. What is not given is a marked "
        "gap there, `[AUTHORS: ...]`, never a guess. Your sentences stand there as you wrote them, unchecked: name no "
        "patient in them. Its title, authors and dates stand on the page too; an edit of the others makes the paper "
        "anew, and nothing else.",
        """
study:
  title: Referable diabetic retinopathy from colour photographs
  authors: [A. Author, B. Author]
  setting: People with diabetes who came to two screening centres in one city.
  dates: January 2019 to June 2021
  reference_standard: The grade of two graders by the international scale, a third one where they differed.
""",
    ),
    Section(
        Encoder,
        "encoders.NAME",
        "Whose weights see the images of a modality, and how the images are fed to them. `visionfm` recognises the "
        "dialects of VisionFM, iBOT, RETFound, DINOv2, DINOv3 and timm by their tensors; docs/weights.md says where "
        "weights are given out and under which licence. `trained_on` lets `audit` find test images among them.",
        """
encoders:
  fundus: {modality: Fundus, weights: weights/VFM_Fundus_weights.pth}
  oct: {modality: OCT, weights: weights/VFM_OCT_weights.pth, precision: bf16, resources: {gpu: 1}}
  dino: {modality: any, timm: vit_base_patch14_reg4_dinov2.lvd142m, image_size: 518, interpolation: bicubic}
  untrained: {modality: Fundus, weights: random, arch: vit_tiny_patch16_224, seed: 1, device: cpu}
""",
    ),
    Section(
        Statistics,
        "encoders.NAME.statistics",
        "Only where the weights do not say what they were trained with: two triples instead of a word.",
        """
encoders:
  own:
    modality: OCTA
    weights: weights/own.safetensors
    statistics: {mean: [0.2, 0.2, 0.2], std: [0.18, 0.18, 0.18]}
""",
    ),
    Section(
        Pretrain,
        "encoders.NAME.pretrain",
        "An encoder trained here, from images without labels. What is not set is the recipe's own: `published` is "
        "VisionFM as its authors ran it (iBOT), `modern` the same loop with what later work showed to be better; "
        "`token_reconstruction` and `instances` continue from given weights (`init`, `timm`) with few images. All lie "
        "in visionfm/pretraining/recipes/; a key that a recipe does not have is an error. Progress is saved: the same "
        "command goes on where it was stopped. A finished encoder is kept when images are added; `visionfm forget "
        "encoders/NAME` trains it anew.",
        """
encoders:
  own_oct:
    modality: OCTA
    pretrain: {datasets: [unlabelled], arch: vit_base_patch16_224, recipe: modern, epochs: 200, batch_size: 1024}
  continued:
    modality: Fundus
    pretrain: {datasets: [clinic_fundus, screening], init: weights/VFM_Fundus_weights.pth, epochs: 50, lr: 2e-5}
  few_images:
    modality: Fundus
    pretrain: {datasets: [clinic_fundus], init: weights/RETFound.pth, recipe: instances, lora: {rank: 8}}
""",
        (
            *(
                RecipeTable(text, FAMILIES[names[0]], {name: PRETRAINING / f"{name}.yaml" for name in names})
                for names, text in PRETRAINING_FAMILIES.items()
            ),
        ),
    ),
    Section(
        Augment,
        "encoders.NAME.pretrain.augment",
        "Random crops and colours. The defaults are the published ones; the switches for eyes are off there.",
        """
encoders:
  own_oct: {pretrain: {augment: {local_crops: 4, keep_aspect: true, spare_grey: true}}}
""",
    ),
    Section(
        Knn,
        "encoders.NAME.pretrain.knn",
        "How well the features separate a label while they are trained, on validation images.",
        """
encoders:
  continued: {pretrain: {knn: {dataset: screening, target: dr, every: 5}}}
""",
    ),
    Section(
        Dataset,
        "datasets.NAME",
        "Images of one modality below one folder. Layout `vfm`: `training/` and `test/` with `training_labels.txt` and "
        "`test_labels.txt` of lines `path;v1,v2,...`, in the folder itself or in every folder below it. `imagefolder`: "
        "`train/`, `val/` and `test/` (or nothing above them) with a folder for each class. `table`: images anywhere, "
        "and a table of labels. `segmentation` and `landmark`: `images/` and `labels/` in `training/` and `test/`, a "
        "mask (pixel values are classes) or a `.npy` array (a channel for each point) of the image's name. "
        "`path_pattern` finds a person in file names. Empty values, `null`, `NA` and `NaN` are unknown.",
        """
datasets:
  clinic:
    modality: OCT
    root: data/clinic
    layout: table
    table: labels.csv
    columns: {image: file, subject: patient, eye: eye, visit: date, targets: {dme: dme, iop: iop_mmhg}}
    split: {validation: 0.15, test: 0.2, stratify: dme, seed: 0}
    cohort: clinic
  clinic_fundus:
    modality: Fundus
    root: data/clinic_fundus
    layout: imagefolder
    labels: [grade]
    path_pattern: "(?P<subject>p[0-9]+)_(?P<eye>OD|OS)"
    cohort: clinic
    split: {like: clinic}
  screening: {modality: CFP, root: data/screening, layout: vfm, labels: [healthy, dr, glaucoma], bad_images: skip}
  unlabelled: {modality: OCTA, root: data/angiographs, layout: vfm, labels: none}
  angles: {modality: UBM, root: data/LandmarkDetection, layout: landmark, labels: [spur_left, spur_right, apex]}
""",
    ),
    Section(
        TableFile,
        "datasets.NAME.table",
        "What the file is, its bytes say, not its name: CSV with comma, semicolon, tab or |, UTF-8 or UTF-16, `sep=;`, "
        "a sheet of .xlsx, .xls or .ods, Parquet. What they do not say stands in a block in place of the path. Paths "
        "of images with backslashes, without a suffix or its case, or without their folder are found where exactly one "
        "image fits, and the log counts them. A cell with an error (#N/A) is empty.",
        """
datasets:
  grader_sheet:
    modality: Fundus
    root: data/grader_sheet
    layout: table
    table: {file: grades.xlsx, sheet: Final, header_row: [2, 3], decimal: ",", unknown: [N/A, "-"]}
    columns: {image: "images/{ID:04d}.jpg", targets: {dme: Right eye DME}}
    missing: skip
""",
    ),
    Section(
        Columns,
        "datasets.NAME.columns",
        "What the columns of a table mean. A list of columns under `targets` is a one-hot group: its value is the name "
        "of the column that is 1, unknown where all are 0. In layout `vfm` the names in `labels` stand for columns; "
        "only `targets` has a meaning there. A mask has one channel whose values are classes; it and "
        "the points are in the frame of the image's stored pixels, and follow it through its EXIF rotation.",
        """
datasets:
  graded:
    modality: Fundus
    root: data/graded
    layout: table
    table: grades.tsv
    columns:
      image: "images/{id_code}.png"
      subject: person
      targets: {dr_grade: [dr0, dr1, dr2, dr3, dr4]}
  drive:
    modality: Fundus
    root: data/drive
    layout: table
    table: files.csv
    images: "images/*"
    columns: {image: file, subject: person, mask: vessels, mask2: second_observer, fov: field_of_view,
              points: {fovea: [fovea_x, fovea_y], disc: [disc_x, disc_y]}, mm_per_px: 0.011}
  lesions:
    modality: Fundus
    root: data/lesions
    layout: table
    table: files.csv
    images: "images/*"
    columns: {image: file, masks: {ma: "masks/{id}_MA.tif", he: "masks/{id}_HE.tif"}, no_mask: background}
""",
    ),
    Section(
        SubjectColumn,
        "datasets.NAME.columns.subject",
        "One person under two spellings (`0012` and `12.0`, `P-1` and `p1`) would be two people, in two splits. Ids of "
        "a dataset or cohort that differ in their spelling alone are an error, until it is said what they are. "
        "Composed and decomposed accents, and the `.0` of a column of numbers, never count.",
        """
datasets:
  clinic_two:
    modality: Fundus
    root: data/clinic_two
    layout: table
    table: labels.csv
    columns:
      image: file
      subject: {column: patient, normalise: digits}
      visit: {column: examined, format: "%d/%m/%Y"}
      targets: {dme: dme}
""",
    ),
    Section(
        Ids,
        "datasets.NAME.ids",
        "Ids of people become hashes, those of tables and of headers alike. Here columns are read from DICOM.",
        """
datasets:
  archive:
    modality: Fundus
    root: data/archive
    layout: table
    labels: none
    columns: {subject: dicom.PatientID, eye: dicom.ImageLaterality, visit: dicom.StudyDate}
    ids: {hash: site.key}
""",
    ),
    Section(
        EveryFrame, "datasets.NAME.frames", "Every n-th: `frames: {every: 4}`: slices 0, 4, 8, ... of each volume."
    ),
    Section(
        MiddleFrames, "datasets.NAME.frames", "The middle: `frames: {middle: 12}`: twelve slices around the centre."
    ),
    Section(
        EyeColumn,
        "datasets.NAME.columns.eye",
        "Eyes by codes. OD, OS, RE, LE, right, left and these words in several languages need no block.",
        """
datasets:
  coded:
    modality: Fundus
    root: data/coded
    layout: table
    table: labels.csv
    columns:
      image: file
      eye: {column: exam_eye, values: {1: R, 2: L}}
      split: {column: fold, values: {0: test, 1: validation}}
      targets: {dme: {column: diagnosis, values: {0: none, 1: dme, 9: null}}}
""",
    ),
    Section(
        SplitColumn,
        "datasets.NAME.columns.split",
        "Splits by codes, or folds: where no code is said to be train, all folds that are not named are.",
    ),
    Section(
        TargetColumn,
        "datasets.NAME.columns.targets.NAME",
        "A target whose column holds codes (every code stands here, `null` for unknown, and any other is an error); in "
        "a table with one row per person, the column of each eye; or the columns of several graders, whose agreement "
        "(kappa) the report shows. Of several rows per image, `aggregate` makes one; grades that are unknown do not "
        "count.",
        """
datasets:
  people:
    modality: Fundus
    root: data/people
    layout: table
    table: people.xlsx
    columns:
      subject: person
      images: {R: right_photograph, L: "{person}_left.jpg"}
      targets:
        dme: {R: dme_right, L: dme_left}
        diabetes: diabetes
  two_graders:
    modality: Fundus
    root: data/two_graders
    layout: table
    table: labels.csv
    columns: {image: file, targets: {dme: {columns: [grader_1, grader_2], aggregate: adjudicated}}}
""",
    ),
    Section(
        EventColumn,
        "datasets.NAME.columns.event",
        "Events of progression by codes.",
        """
datasets:
  followed:
    modality: Fundus
    root: data/followed
    layout: table
    table: labels.csv
    columns: {image: file, subject: patient, visit: date, interval: days,
              event: {column: progressed, values: {yes: 1, no: 0}}}
""",
    ),
    Section(
        VisitColumn,
        "datasets.NAME.columns.visit",
        "Whatever depends on the order of visits (`aggregate: latest` and `first`, `max_days`, progression of eyes) "
        "needs dates of ISO (2019-03-05) or numbers; other texts have no order in time and are an error there.",
        """
datasets:
  trial:
    modality: OCT
    root: data/trial
    layout: table
    table: labels.csv
    columns: {image: file, subject: patient, visit: {column: visit_name, order: natural}, targets: {dme: dme}}
""",
    ),
    Section(
        GroupColumn,
        "datasets.NAME.columns.groups.NAME",
        "For whom does a model fail? Each group of people or images is measured by itself on test data and compared "
        "with the rest; who has no value is the group `unknown`. Sex and age, camera and site are what reviewers ask "
        "for. Groups train nothing and choose nothing: a corrected cell changes these tables alone.",
        """
datasets:
  described:
    modality: Fundus
    root: data/described
    layout: table
    table: labels.csv
    columns:
      image: file
      subject: patient
      groups: {age: {column: age, cut: [50, 65]}, sex: {column: sex, values: {1: female, 2: male}}, camera: device}
      targets: {dr: dr}
""",
    ),
    Section(
        Split,
        "datasets.NAME.split",
        "Splits that the data give are kept. What is not given is drawn by subject, and holds still when data are "
        "added: one more subject moves at most one other across each boundary.",
        """
datasets:
  graded:
    split: {validation: 0.2, test: 0.25, stratify: dr_grade, seed: 1}
""",
    ),
    Section(
        Pack,
        "datasets.NAME.pack",
        "Pretraining on a parallel file system: a million small files become few large ones, and large photographs "
        "are decoded and shrunk once. Training sees the same pixels as without the pack of this size; what it sees of "
        "larger images than `size` is less fine than without `pack`.",
        """
datasets:
  unlabelled: {pack: {size: 512}}
""",
    ),
    Section(
        ModalityBlock,
        "modalities.NAME",
        "Only for a modality beside Fundus, OCT, FFA, SlitLamp, Ultrasound, External, MRI and UBM (aliases such as "
        "`CFP` and `b-scan` are known). `auto` measures mean and std once: on the images an encoder is pretrained on, "
        "or, for imported weights, on the training images of the config's datasets (`trained_on`'s, where given).",
        """
modalities:
  OCTA: {statistics: auto}
""",
    ),
    Section(
        TaskBlock,
        "tasks.NAME",
        "A question, asked of one or several datasets with each of several models. A model is one line: modality (or "
        "`any`) and the encoder that it has for it. What follows here every kind of task has; `kind` decides which "
        "further keys there are.",
        """
models:
  visionfm: {Fundus: fundus, OCT: oct}
  dinov2: {any: dino}
  baseline: {Fundus: untrained}
  ultrasound: {any: dino}
""",
    ),
    Section(
        TaskSplit,
        "tasks.NAME.split",
        "`split: {folds: 5}`: each person of `datasets` is tested once, by a decoder that never saw them. "
        "docs/statistics.md says how folds are drawn, and what numbers there are.",
    ),
    Section(
        Training,
        "tasks.NAME.training",
        "How decoders are trained. The hyper-parameters that follow under each kind are the recipe's own where they "
        "are not set.",
    ),
    *(section for kind in KINDS.values() for section in kind.sections),
    Section(
        DenseCache,
        "tasks.NAME.dense_cache",
        "Of segmentation and landmarks: how much the patch tokens of one dataset may take on disk; the largest budget "
        "of its tasks counts.",
    ),
    Section(
        Trainable,
        "tasks.NAME.training.trainable",
        "With `mode: finetune`: the encoder's last blocks, or adapters beside its attention.",
    ),
    Section(
        Lora,
        "tasks.NAME.training.trainable.lora",
        "Low-rank adapters: a few percent of the weights, which is often enough, and a small state while it trains.",
        """
tasks:
  tuned: {training: {trainable: {last: null, lora: {rank: 8}}}}
""",
    ),
    Section(
        Resources,
        "encoders.NAME.resources, tasks.NAME.training.resources",
        "What a cluster's jobs ask for; names of partitions and accounts stand in slurm/config.yaml.",
        """
encoders:
  fundus: {resources: {gpu: 2, threads: 8, mem_mb: 16000, runtime: 120}}
""",
    ),
)
