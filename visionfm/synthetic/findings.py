"""What is true of a synthetic eye: its diseases (the published 13-value vector) and its values (38 biomarkers).

Six independent factors, uniform on [0, 1], are drawn per eye (`size`, `tissue`, `clarity`) or per person (`vessel`,
`pigment`, `age`). The first biomarker of each factor *is* the factor, in its unit, and is drawn into every modality
(PLANTED); the others are correlates with a little noise of their own. Values do not depend on diseases.
Invariant: an eye depends on (seed, population, subject) only.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DISEASES = (
    "Healthy",
    "DR-1",
    "DR-2",
    "DR-3",
    "DR-4",
    "DR",
    "Glaucoma",
    "AMD",
    "Cataract",
    "Hypertensive Retinopathy",
    "Retinal Vein Occlusion",
    "Myopia",
    "Retinal Detachment",
)
EYES = ("R", "L")
GRADES = 5
NOT_GRADED = DISEASES[6:]
# Chances among eyes of people who are not healthy altogether; the prevalence over all eyes is 0.8 of this.
CHANCE_HEALTHY_PERSON = 0.2
CHANCE_DR = 0.46
CHANCE_OTHER = 0.34
CORRELATE_NOISE = 0.05  # standard deviation, as a share of the biomarker's range
FACTORS = ("size", "vessel", "pigment", "tissue", "clarity", "age")
PERSONAL_FACTORS = frozenset({"vessel", "pigment", "age"})  # equal in both eyes


class Biomarker(NamedTuple):
    """One measured value: its name, unit, the factor that it follows, and its values at factor 0 and 1."""

    name: str
    unit: str
    factor: str
    at_zero: float
    at_one: float


BIOMARKERS = (
    Biomarker("pupil_diameter", "mm", "size", 2.5, 7.5),
    Biomarker("axial_length", "mm", "size", 21.5, 27.0),
    Biomarker("corneal_diameter", "mm", "size", 10.8, 12.8),
    Biomarker("anterior_chamber_depth", "mm", "size", 2.2, 4.0),
    Biomarker("vitreous_depth", "mm", "size", 14.0, 18.5),
    Biomarker("palpebral_fissure_height", "mm", "size", 7.0, 12.0),
    Biomarker("eye_volume", "mL", "size", 5.5, 8.5),
    Biomarker("venule_calibre", "um", "vessel", 170.0, 290.0),
    Biomarker("arteriole_calibre", "um", "vessel", 110.0, 190.0),
    Biomarker("vessel_density", "percent", "vessel", 8.0, 16.0),
    Biomarker("fractal_dimension", "1", "vessel", 1.35, 1.55),
    Biomarker("ophthalmic_artery_flow", "cm/s", "vessel", 8.0, 18.0),
    Biomarker("haematocrit", "percent", "vessel", 34.0, 52.0),
    Biomarker("systolic_pressure", "mmHg", "vessel", 180.0, 100.0),
    Biomarker("melanin_index", "1", "pigment", 10.0, 90.0),
    Biomarker("iris_pigment_score", "1", "pigment", 1.0, 24.0),
    Biomarker("choroidal_melanin", "mg/g", "pigment", 2.0, 12.0),
    Biomarker("macular_pigment_density", "1", "pigment", 0.1, 0.9),
    Biomarker("skin_reflectance", "percent", "pigment", 65.0, 25.0),
    Biomarker("pigment_epithelium_reflectivity", "dB", "pigment", 18.0, 34.0),
    Biomarker("central_retinal_thickness", "um", "tissue", 220.0, 340.0),
    Biomarker("nerve_fibre_layer_thickness", "um", "tissue", 70.0, 130.0),
    Biomarker("ganglion_cell_layer_thickness", "um", "tissue", 60.0, 100.0),
    Biomarker("choroidal_thickness", "um", "tissue", 150.0, 420.0),
    Biomarker("iris_thickness", "mm", "tissue", 0.3, 0.6),
    Biomarker("central_corneal_thickness", "um", "tissue", 480.0, 620.0),
    Biomarker("optic_nerve_diameter", "mm", "tissue", 2.4, 3.6),
    Biomarker("signal_strength", "dB", "clarity", 15.0, 40.0),
    Biomarker("lens_transmittance", "percent", "clarity", 40.0, 95.0),
    Biomarker("contrast_sensitivity", "logCS", "clarity", 0.8, 2.0),
    Biomarker("visual_acuity", "letters", "clarity", 40.0, 90.0),
    Biomarker("tear_breakup_time", "s", "clarity", 3.0, 15.0),
    Biomarker("age", "years", "age", 20.0, 90.0),
    Biomarker("lens_thickness", "mm", "age", 3.4, 5.2),
    Biomarker("accommodation", "D", "age", 10.0, 0.0),
    Biomarker("glycated_haemoglobin", "percent", "age", 4.5, 9.0),
    Biomarker("body_mass_index", "kg/m2", "age", 18.0, 38.0),
    Biomarker("creatinine", "umol/L", "age", 50.0, 130.0),
)
# The six values that are the factors themselves: exactly what the drawings show, in every modality.
PLANTED = tuple(next(b.name for b in BIOMARKERS if b.factor == factor) for factor in FACTORS)


@dataclass(frozen=True)
class Findings:
    """The truth about one eye.

    `diseases` holds 13 zeros and ones in the order of DISEASES: Healthy means no disease at all, so an eye that has
    other diseases but no diabetic retinopathy has five zeros in front (ungraded). `values` holds the 38 BIOMARKERS in
    their units; `factors` the six FACTORS on [0, 1]; `eye` is R or L.
    """

    eye: str
    diseases: tuple[int, ...]
    values: tuple[float, ...]
    factors: tuple[float, ...]

    def has(self, disease: str) -> bool:
        """Return whether the eye has the disease named as in DISEASES."""
        return bool(self.diseases[DISEASES.index(disease)])

    @property
    def dr_grade(self) -> int:
        """Grade of diabetic retinopathy, 0 (none) to 4 (proliferative)."""
        return next((grade for grade in range(1, GRADES) if self.diseases[grade]), 0)

    def level(self, factor: str) -> float:
        """Return one of the FACTORS, on [0, 1]."""
        return self.factors[FACTORS.index(factor)]


def disease_vector(dr_grade: int, others: frozenset[str] | set[str] = frozenset()) -> tuple[int, ...]:
    """Return the 13 zeros and ones of an eye with that DR grade (0 none) and those of NOT_GRADED."""
    vector = [0] * len(DISEASES)
    if dr_grade:
        vector[dr_grade] = 1
        vector[DISEASES.index("DR")] = 1
    for name in others:
        vector[DISEASES.index(name)] = 1
    vector[0] = int(not any(vector))
    return tuple(vector)


def draw_findings(rng: np.random.Generator) -> dict[str, Findings]:
    """Return the findings of the two eyes of one person, drawn from `rng`.

    Diabetic and hypertensive retinopathy belong to the person, the DR grade and all else to the eye; every disease has
    a prevalence of 0.27-0.37 over eyes, nearly independent of the others.
    """
    healthy = rng.random() < CHANCE_HEALTHY_PERSON
    diabetic = rng.random() < CHANCE_DR
    hypertensive = rng.random() < CHANCE_OTHER
    personal = {name: float(rng.random()) for name in FACTORS}
    personal_noise = rng.normal(0.0, CORRELATE_NOISE, len(BIOMARKERS))
    eyes = {}
    for eye in EYES:
        factors = {name: float(rng.random()) for name in FACTORS}
        factors |= {name: personal[name] for name in PERSONAL_FACTORS}
        noise = rng.normal(0.0, CORRELATE_NOISE, len(BIOMARKERS))
        grade = int(rng.integers(1, GRADES))
        drawn = {name: rng.random() < CHANCE_OTHER for name in NOT_GRADED}
        drawn["Hypertensive Retinopathy"] = hypertensive
        others = set() if healthy else {name for name, present in drawn.items() if present}
        values = []
        for index, marker in enumerate(BIOMARKERS):
            share = factors[marker.factor]
            if marker.name not in PLANTED:
                share += personal_noise[index] if marker.factor in PERSONAL_FACTORS else noise[index]
                share = min(max(share, 0.0), 1.0)
            values.append(round(float(marker.at_zero + share * (marker.at_one - marker.at_zero)), 4))
        eyes[eye] = Findings(
            eye=eye,
            diseases=disease_vector(grade if diabetic and not healthy else 0, others),
            values=tuple(values),
            factors=tuple(factors[name] for name in FACTORS),
        )
    return eyes
