"""Magnetic resonance (MRI): an axial section through one orbit, vitreous bright, fat grey, muscles and nerve dark.

Planted values: globe (size), muscles (vessel), fat (pigment), nerve (tissue), gain (clarity), haze (age), and the
tissue's fine texture.
"""

import numpy as np

from visionfm.synthetic.canvas import Array
from visionfm.synthetic.scene import Scene, wander
from visionfm.synthetic.signs import Look, paint_signs


def draw_mri(scene: Scene) -> None:
    """Paint the section: front of the eye above, brain below, nose on the nasal side."""
    canvas, rng = scene.canvas, scene.stream("MRI/shape")
    side, size = scene.nasal, scene.level("size")
    x, y = 0.5 - side * 0.02 + rng.uniform(-0.01, 0.01), 0.33 + rng.uniform(-0.01, 0.01)
    radius = 0.165 + 0.03 * size
    tall = radius * (1.28 if scene.has("Myopia") else 1.02)
    texture = scene.stream("MRI/texture")
    mottled = 1 + 0.10 * canvas.clouds(texture, 40)
    head = canvas.ellipse(0.5 + side * 0.30, 0.72, 0.78, 0.62, soft=0.01) + canvas.ellipse(
        x, y + 0.02, radius + 0.09, radius + 0.07, soft=0.02
    )
    head = np.clip(head, 0, 1)
    canvas.paint(head, 0.16)
    fat = canvas.polygon(
        np.asarray(
            [
                (x - 0.24, y - 0.02),
                (x + 0.24, y - 0.02),
                (x + side * 0.16, 0.62),
                (x + side * 0.11, 0.74),
                (x - side * 0.10, 0.60),
            ]
        )
    )
    fat = np.maximum(canvas.blurred(fat, 0.012), canvas.ellipse(x, y + 0.03, radius + 0.05, radius + 0.05, soft=0.02))
    canvas.paint(fat * mottled, 0.46 - 0.18 * scene.level("pigment"))
    brain = canvas.ellipse(0.5 - side * 0.05, 1.06, 0.62, 0.30, soft=0.01)
    folds = np.clip(0.5 + 0.9 * canvas.clouds(texture, 16, 12), 0, 1)
    canvas.paint(brain, 0.30)
    canvas.paint(brain * folds, 0.44, 0.6)
    canvas.paint(canvas.blurred(np.clip(canvas.ellipse(0.5 - side * 0.05, 1.06, 0.64, 0.32) - brain, 0, 1), 0.004), 0.6)
    sinus = canvas.ellipse(x + side * 0.36, 0.50, 0.10, 0.26, soft=0.01)
    canvas.paint(sinus, 0.03, 0.95)
    width = 0.018 + 0.022 * scene.level("vessel")
    apex = (x + side * 0.13, 0.72)
    lines = []
    for lateral in (-1, 1):
        t = np.linspace(0, 1, 20)
        start = x + lateral * (radius + 0.015)
        lines.append(
            np.stack(
                [
                    start + (apex[0] - start) * t + lateral * 0.05 * np.sin(np.pi * t),
                    y + 0.03 + (apex[1] - y - 0.03) * t,
                ],
                1,
            )
        )
    canvas.paint(canvas.strokes(lines, width), 0.14, 0.9)
    nerve = wander(
        rng, (x + side * 0.02, y + tall), float(np.arctan2(apex[1] - y - tall, apex[0] - x - side * 0.02)), 0.25, 0.03
    )
    nerve_width = 0.030 + 0.024 * scene.level("tissue")
    if scene.has("Glaucoma"):  # wide sheath, thin nerve
        scene.sign("Glaucoma", canvas.strokes([nerve], nerve_width + 0.035), 0.85, 0.9)
        nerve_width *= 1 - 0.5 * scene.difficulty.opacity
    nerve_mask = canvas.strokes([nerve], nerve_width)
    canvas.paint(nerve_mask, 0.26)
    canvas.paint(canvas.ellipse(x, y, radius + 0.012, tall + 0.012), 0.10)
    globe = canvas.ellipse(x, y, radius, tall, soft=0.006)
    canvas.paint(globe, 0.74)
    lens = canvas.ellipse(x, y - tall + 0.045, 0.075, 0.038, soft=0.006)
    canvas.paint(lens, 0.12)
    scene.keep("globe", globe)
    scene.keep("optic_nerve", nerve_mask)
    scene.geometry.points["lens"] = (x, y - tall + 0.045)
    if scene.has("Cataract"):
        scene.sign("Cataract", canvas.ellipse(x, y - tall + 0.045, 0.082, 0.045, soft=0.006), 0.95, 0.9)
    if scene.has("Retinal Vein Occlusion"):
        vein = np.stack([np.linspace(x - 0.2, x + 0.2, 20), y + tall + 0.05 + 0.05 * np.sin(np.linspace(0, 3, 20))], 1)
        scene.sign("Retinal Vein Occlusion", canvas.strokes([vein], 0.03), 0.03, 0.95)
    if scene.has("Retinal Detachment"):
        t = np.linspace(0, 1, 20)
        arms = [np.stack([x + v * 0.85 * radius * t, y + tall - 1.1 * tall * t**1.2], 1) for v in (-1, 1)]
        scene.sign("Retinal Detachment", canvas.strokes(arms, 0.016), 0.10, 0.95)
    _signs(scene, head * (1 - sinus))
    canvas.rgb += np.float32(0.05 * scene.level("age"))
    canvas.rgb *= (1 + scene.grain_of_tissue(0.18))[..., None]
    canvas.rgb *= (1.1 - 0.35 * canvas.y)[..., None]
    canvas.rgb *= np.float32(0.75 + 0.5 * scene.level("clarity"))
    scene.capture(0.014, "MRI/capture")


def _signs(scene: Scene, head: Array) -> None:
    upper = scene.stream("RVO").random() < 0.5
    half = np.asarray(scene.canvas.y < 0.65 if upper else scene.canvas.y >= 0.35, np.float32)
    paint_signs(
        scene,
        {
            "DR-1": Look(head, 0.90),
            "DR-2": Look(head, 0.85),
            "DR-3": Look(head, 0.02),
            "DR-4": Look(head, 0.80),
            "Glaucoma": Look(head, 0.55, 0.35),
            "AMD": Look(head, 0.65, 0.8),
            "Cataract": Look(head, 0.55, 0.5),
            "Hypertensive Retinopathy": Look(head, 0.60, 0.4),
            "Retinal Vein Occlusion": Look(half * head, 0.04),
            "Myopia": Look(head, 0.60, 0.4),
            "Retinal Detachment": Look(head, 0.04, 0.6),
        },
    )
