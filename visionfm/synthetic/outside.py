"""The front of the eye in colour: external photograph (lids, brow, lashes) and slit-lamp picture (cornea, iris, beam).

Planted values: pupil and cornea (size), vessels of the white (vessel), skin and iris (pigment), brightness (clarity),
yellowing of the white (age), and the tissue's fine texture.
"""

import numpy as np

from visionfm.synthetic.canvas import Array
from visionfm.synthetic.scene import Scene, wander
from visionfm.synthetic.signs import Look, paint_signs


def draw_external(scene: Scene) -> None:
    """Paint the external photograph on the scene's canvas."""
    canvas, rng = scene.canvas, scene.stream("External/shape")
    pigment, side = scene.level("pigment"), scene.nasal
    skin = np.asarray([0.93 - 0.30 * pigment, 0.72 - 0.32 * pigment, 0.58 - 0.32 * pigment], np.float32)
    canvas.paint(np.ones_like(canvas.x), tuple(skin))
    texture = scene.stream("External/texture")
    canvas.rgb *= (1 + 0.04 * canvas.clouds(texture, 5) + 0.02 * canvas.clouds(texture, 60))[..., None]
    canvas.multiply(canvas.glow(0.5 + side * 0.42, 0.42, 0.10, 0.25), (0.78, 0.70, 0.66))  # towards the nose
    centre = (0.5 + rng.uniform(-0.015, 0.015), 0.53 + rng.uniform(-0.01, 0.01))
    opening = 0.125 + 0.045 * scene.level("size") + (0.05 * scene.difficulty.opacity if scene.has("Myopia") else 0.0)
    fissure = _fissure(scene, centre, opening)
    canvas.multiply(
        canvas.glow(centre[0], centre[1] - opening - 0.07, 0.30, 0.035), (0.70, 0.62, 0.58)
    )  # the lid's crease
    canvas.multiply(canvas.blurred(fissure, 0.02), (0.80, 0.66, 0.62))
    _white(scene, "External", fissure, centre)
    _iris(scene, fissure, centre, 0.13, 0.036 + 0.034 * scene.level("size"))
    canvas.multiply(canvas.glow(centre[0], centre[1] - opening, 0.30, 0.03) * fissure, (0.5, 0.45, 0.45))
    _lashes(scene, centre, opening)
    everything = np.ones_like(canvas.x)
    skin_area = 1 - fissure
    paint_signs(
        scene,
        {
            "DR-1": Look(everything, (0.62, 0.08, 0.10)),
            "DR-2": Look(skin_area, (1.0, 0.90, 0.45)),
            "DR-3": Look(everything, (0.40, 0.04, 0.06)),
            "DR-4": Look(skin_area, (0.97, 0.90, 0.82), 0.85),
            "Glaucoma": Look(everything, (0.80, 0.25, 0.22), 0.5),
            "AMD": Look(skin_area, (0.36, 0.22, 0.12), 0.85),
            "Cataract": Look(everything, (0.80, 0.82, 0.86), 0.38),
            "Hypertensive Retinopathy": Look(everything, (0.80, 0.30, 0.28), 0.6),
            "Retinal Vein Occlusion": Look(_half(scene), (0.30, 0.08, 0.30)),
            "Myopia": Look(everything, (0.92, 0.92, 0.98), 0.5),
            "Retinal Detachment": Look(everything, (0.34, 0.16, 0.38), 0.55),
        },
    )
    if scene.has("Myopia"):
        _spectacles(scene, centre)
    _finish(scene, "External", 0.05)


def draw_slitlamp(scene: Scene) -> None:
    """Paint the slit-lamp picture on the scene's canvas."""
    canvas, rng = scene.canvas, scene.stream("SlitLamp/shape")
    pigment = scene.level("pigment")
    canvas.paint(np.ones_like(canvas.x), (0.86 - 0.16 * pigment, 0.58 - 0.16 * pigment, 0.48 - 0.14 * pigment))
    centre = (0.5 + rng.uniform(-0.02, 0.02), 0.5 + rng.uniform(-0.015, 0.015))
    open_eye = canvas.ellipse(*centre, 0.68, 0.43, soft=0.02)
    _white(scene, "SlitLamp", open_eye, centre)
    cornea = 0.27 + 0.05 * scene.level("size")
    _iris(scene, open_eye, centre, cornea, 0.08 + 0.06 * scene.level("size"))
    slit = (canvas.x - centre[0] + 0.05 * scene.nasal) + 0.9 * (canvas.y - centre[1]) ** 2 * scene.nasal
    beam = np.exp(-((slit / 0.022) ** 2)) * canvas.ellipse(*centre, cornea * 1.02)
    canvas.paint(beam, (0.93, 0.95, 0.90), 0.6)
    everything = np.ones_like(canvas.x)
    paint_signs(
        scene,
        {
            "DR-1": Look(everything, (0.60, 0.05, 0.08)),
            "DR-2": Look(everything, (1.0, 0.92, 0.45), 0.9),
            "DR-3": Look(everything, (0.42, 0.02, 0.05)),
            "DR-4": Look(everything, (0.95, 0.93, 0.90), 0.85),
            "Glaucoma": Look(everything, (0.78, 0.18, 0.20), 0.5),
            "AMD": Look(everything, (0.34, 0.20, 0.10), 0.8),
            "Cataract": Look(everything, (0.86, 0.88, 0.90), 0.35),
            "Hypertensive Retinopathy": Look(everything, (0.80, 0.36, 0.34), 0.6),
            "Retinal Vein Occlusion": Look(_half(scene), (0.30, 0.05, 0.28)),
            "Myopia": Look(everything, (0.30, 0.30, 0.46), 0.5),
            "Retinal Detachment": Look(everything, (0.30, 0.20, 0.12), 0.55),
        },
    )
    canvas.paint(canvas.ellipse(centre[0] + 0.07, centre[1] - 0.09, 0.016), (1.0, 1.0, 1.0), 0.95)
    _finish(scene, "SlitLamp", 0.10)


def _finish(scene: Scene, modality: str, vignette: float) -> None:
    canvas = scene.canvas
    canvas.rgb *= (1 + scene.grain_of_tissue(0.07))[..., None]
    canvas.rgb *= (1 - 4 * vignette * canvas.distance(0.5, 0.5) ** 2)[..., None]
    canvas.rgb *= np.asarray([1.0, 1.0, 1.12 - 0.36 * scene.level("age")], np.float32)
    canvas.rgb *= np.float32(0.78 + 0.32 * scene.level("clarity"))
    scene.capture(0.012, f"{modality}/capture")


def _half(scene: Scene) -> Array:
    upper = scene.stream("RVO").random() < 0.5
    return np.asarray((scene.canvas.y < 0.5) if upper else (scene.canvas.y >= 0.5), np.float32)


def _fissure(scene: Scene, centre: tuple[float, float], opening: float) -> Array:
    """The almond between the lids."""
    t = np.linspace(-1.0, 1.0, 60)
    x = centre[0] + 0.36 * t
    tilt = 0.02 * scene.nasal * t
    upper = centre[1] + tilt - opening * (1 - np.abs(t) ** 2.2)
    lower = centre[1] + tilt + 0.72 * opening * (1 - np.abs(t) ** 2.6)
    outline = np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)[::-1]])
    mask = scene.canvas.polygon(outline)
    scene.keep("fissure", mask)
    return mask


def _white(scene: Scene, modality: str, area: Array, centre: tuple[float, float]) -> None:
    """The white of the eye, shaded to the corners, with its vessels."""
    canvas, rng = scene.canvas, scene.stream(f"{modality}/vessels")
    white = (0.93, 0.89 - 0.03 * scene.level("vessel"), 0.86 - 0.03 * scene.level("vessel"))
    canvas.paint(area, white)
    canvas.multiply(area * np.clip(canvas.distance(*centre, 0.55) - 0.2, 0, 1), (0.75, 0.62, 0.60))
    lines, widths = [], []
    for direction in (0.0, np.pi):
        for _ in range(16):
            start = (centre[0] + 0.46 * np.cos(direction), centre[1] + rng.uniform(-0.16, 0.16))
            lines.append(wander(rng, start, direction + np.pi + rng.normal(0, 0.25), rng.uniform(0.1, 0.26), 0.22))
            widths.append(rng.uniform(0.002, 0.004) * (0.5 + 1.3 * scene.level("vessel")))
    vessels = canvas.strokes(lines, widths) * area
    canvas.paint(vessels, (0.74, 0.20, 0.20), 0.75)
    scene.keep("vessels", vessels)


def _iris(scene: Scene, area: Array, centre: tuple[float, float], radius: float, pupil_radius: float) -> None:
    """Iris with radial fibres and a dark limbus, pupil with its reflex, and what cataract and glaucoma do to them."""
    canvas, rng = scene.canvas, scene.stream("iris")
    pigment = scene.level("pigment")
    brown, blue = np.asarray([0.26, 0.14, 0.07]), np.asarray([0.36, 0.48, 0.56])
    colour = brown * pigment + blue * (1 - pigment)
    iris = canvas.ellipse(*centre, radius, soft=0.012) * area
    canvas.paint(iris, tuple(colour))
    direction = np.arctan2(canvas.y - np.float32(centre[1]), canvas.x - np.float32(centre[0]))
    fibres = sum(
        np.sin(direction * int(k) + np.float32(p))
        for k, p in zip(rng.integers(20, 90, 5), rng.uniform(0, 6, 5), strict=True)
    )
    canvas.rgb *= 1 + (iris * 0.09 * fibres)[..., None]
    canvas.multiply(iris * np.clip(canvas.distance(*centre, radius) * 5 - 4, 0, 1), (0.45, 0.45, 0.5))
    pupil = canvas.ellipse(*centre, pupil_radius, soft=0.006) * area
    canvas.paint(pupil, (0.02, 0.02, 0.025), 0.97)
    if scene.has("Cataract"):
        scene.sign("Cataract", pupil, (0.80, 0.80, 0.74), 0.9)
    if scene.has("Glaucoma"):
        scene.sign("Glaucoma", iris, (0.62, 0.70, 0.62), 0.4)
    if scene.findings.dr_grade == 4:  # new vessels on the iris
        lines = [
            wander(
                rng,
                (centre[0] + pupil_radius * np.cos(a), centre[1] + pupil_radius * np.sin(a)),
                a,
                radius - pupil_radius,
                0.3,
            )
            for a in rng.uniform(0, 2 * np.pi, scene.number(22))
        ]
        scene.sign("DR-4", canvas.strokes(lines, 0.004) * iris, (0.75, 0.08, 0.08), 0.9)
    canvas.paint(
        canvas.ellipse(centre[0] - 0.25 * radius, centre[1] - 0.3 * radius, 0.09 * radius) * area, (1.0, 1.0, 1.0), 0.95
    )
    scene.keep("iris", iris)
    scene.keep("pupil", pupil)
    scene.geometry.points["pupil"] = centre


def _lashes(scene: Scene, centre: tuple[float, float], opening: float) -> None:
    """Lashes of the upper lid and a brow above."""
    canvas, rng = scene.canvas, scene.stream("lashes")
    lines = []
    for t in np.linspace(-0.92, 0.92, 46):
        x, y = centre[0] + 0.36 * t, centre[1] + 0.02 * scene.nasal * t - opening * (1 - abs(t) ** 2.2)
        length = rng.uniform(0.035, 0.06)
        bend = t * 0.9 + rng.normal(0, 0.12)
        lines.append(
            np.asarray(
                [(x, y), (x + 0.4 * length * np.sin(bend), y - 0.6 * length), (x + length * np.sin(bend), y - length)]
            )
        )
    for t in rng.uniform(-1, 1, 220):
        x, y = centre[0] + 0.40 * t, 0.15 + 0.05 * t * t + rng.normal(0, 0.013)
        lines.append(np.asarray([(x, y), (x - scene.nasal * 0.03, y - 0.012 + 0.01 * rng.normal())]))
    hair = canvas.strokes(lines, 0.0035)
    canvas.paint(hair, (0.14, 0.09, 0.06), 0.75)


def _spectacles(scene: Scene, centre: tuple[float, float]) -> None:
    canvas = scene.canvas
    t = np.linspace(0, 2 * np.pi, 80)
    outline = np.stack(
        [centre[0] + 0.47 * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** 0.6, centre[1] + 0.33 * np.sin(t)], 1
    )
    scene.sign("Myopia", canvas.strokes([outline], 0.022), (0.10, 0.10, 0.13), 0.95)
