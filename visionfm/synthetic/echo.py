"""Ultrasound: the B-scan of the whole globe (Ultrasound) and the biomicroscope's anterior segment (UBM).

Both are bright echoes on black. Planted values: globe or chamber (size), the fat's lumps or the ciliary body (vessel),
echo of wall or iris (pigment), wall or iris thickness (tissue), gain (clarity), haze (age), and the fine texture.
"""

import numpy as np

from visionfm.synthetic.canvas import Array
from visionfm.synthetic.scene import Scene
from visionfm.synthetic.signs import Look, paint_signs


def draw_ultrasound(scene: Scene) -> None:
    """Paint the B-scan: probe on the left, vitreous black, back wall and orbital fat bright on the right."""
    canvas, rng = scene.canvas, scene.stream("Ultrasound/shape")
    size, tissue = scene.level("size"), scene.level("tissue")
    x, y = 0.44 + rng.uniform(-0.01, 0.01), 0.5 + rng.uniform(-0.015, 0.015)
    rx, ry = 0.26 + 0.05 * size, 0.27 + 0.05 * size
    if scene.has("Myopia"):
        rx += 0.06 * scene.difficulty.opacity
    fan = np.clip((1.02 - np.abs(canvas.y - 0.5) / (0.30 + 0.22 * canvas.x)) / 0.03, 0, 1) * canvas.ellipse(
        0.18, 0.5, 0.80, 0.62
    )
    globe = canvas.ellipse(x, y, rx, ry, soft=0.008)
    wall = canvas.ellipse(x, y, rx + 0.02 + 0.025 * tissue, ry + 0.02 + 0.025 * tissue, soft=0.012)
    texture = scene.stream("Ultrasound/texture")
    fat = np.clip(1 - (canvas.distance(x, y, rx, ry) - 1.05) / 0.75, 0, 1)
    lumps = np.clip(0.62 + (0.12 + 0.3 * scene.level("vessel")) * canvas.clouds(texture, 34, 24), 0, 1.2)
    canvas.paint(fan, 0.04)
    behind = np.clip((canvas.x - x + 0.12) / 0.12, 0.25, 1)
    canvas.paint(fan * (1 - wall) * fat * lumps * behind, 0.62)
    canvas.paint(fan * (wall - globe).clip(0, 1) * behind, 0.60 + 0.35 * scene.level("pigment"))
    nerve = canvas.sector(x, y, 0.12 * scene.nasal, 0.085, 0.05) * (1 - wall)
    canvas.paint(nerve * fan, 0.10, 0.9)
    canvas.paint(globe * fan, 0.03 + 0.05 * scene.level("age"))
    lens_x = x - 0.72 * rx
    lens_shell = canvas.ellipse(lens_x, y, 0.075, 0.125, soft=0.01) - canvas.ellipse(lens_x, y, 0.062, 0.11, soft=0.01)
    canvas.paint(np.clip(lens_shell, 0, 1) * fan, 0.55)
    canvas.paint(canvas.ellipse(0.06, 0.5, 0.035, 0.22, soft=0.02), 0.8)
    scene.keep("globe", globe)
    scene.geometry.points["macula"] = (x + rx, y)
    inside, everything = globe * fan, fan
    if scene.has("Cataract"):
        scene.sign("Cataract", canvas.ellipse(lens_x, y, 0.07, 0.12, soft=0.01), 0.9, 0.9)
    if scene.has("AMD"):
        scene.sign("AMD", canvas.ellipse(x + rx * 0.97, y, 0.045, 0.10, soft=0.015), 0.85, 0.9)
    if scene.has("Retinal Detachment"):
        _funnel(scene, x, y, rx, ry)
    _paint(scene, everything, inside, np.clip(fan - globe, 0, 1))
    canvas.rgb *= (1 + scene.grain_of_tissue(0.30))[..., None]
    speckle = canvas.clouds(scene.stream("Ultrasound/speckle"), 110, 160)
    canvas.rgb *= np.clip(1 + 0.28 * speckle, 0, 2)[..., None]
    canvas.rgb *= np.float32(0.75 + 0.5 * scene.level("clarity"))
    scene.capture(0.008, "Ultrasound/capture")


def _paint(scene: Scene, everything: Array, dark: Array, bright: Array) -> None:
    """The marks common to both: echoes where it is dark, and gaps where it is bright."""
    upper = scene.stream("RVO").random() < 0.5
    half = np.asarray(scene.canvas.y < 0.5 if upper else scene.canvas.y >= 0.5, np.float32)
    paint_signs(
        scene,
        {
            "DR-1": Look(everything, 0.70),
            "DR-2": Look(everything, 0.60),
            "DR-3": Look(everything, 0.50),
            "DR-4": Look(everything, 0.55),
            "Glaucoma": Look(everything, 0.36, 0.65),
            "AMD": Look(everything, 0.60),
            "Cataract": Look(everything, 0.34, 0.6),
            "Hypertensive Retinopathy": Look(everything, 0.36, 0.65),
            "Retinal Vein Occlusion": Look(everything * half, 0.75),
            "Myopia": Look(everything, 0.36, 0.65),
            "Retinal Detachment": Look(np.maximum(dark, 0.4 * bright), 0.50, 0.8),
        },
    )


def _funnel(scene: Scene, x: float, y: float, rx: float, ry: float) -> None:
    """The detached retina: a V that hangs on the optic nerve."""
    rng = scene.stream("Ultrasound/RD")
    t = np.linspace(0, 1, 30)
    lines = []
    for vertical in (-1, 1):
        end = (x - 0.35 * rx, y + vertical * 0.85 * ry)
        sway = 0.03 * np.sin(t * rng.uniform(5, 9)) * np.sin(np.pi * t)
        lines.append(np.stack([x + rx + (end[0] - x - rx) * t, y + (end[1] - y) * t**1.3 + sway], 1))
    scene.sign("Retinal Detachment", scene.canvas.strokes(lines, 0.016), 0.95, 0.95)


def draw_ubm(scene: Scene) -> None:
    """Paint the anterior segment: cornea above, chamber black, iris beside the pupil, lens and ciliary body."""
    canvas, rng = scene.canvas, scene.stream("UBM/shape")
    x = canvas.x[0]
    mid = 0.5 + rng.uniform(-0.015, 0.015)
    size, tissue = scene.level("size"), scene.level("tissue")
    off = (x - np.float32(mid)).astype(np.float32)
    outer = 0.14 + 0.95 * off**2
    thick = 0.055 + 0.035 * tissue
    inner = outer + thick
    depth = 0.18 + 0.10 * size + (0.07 * scene.difficulty.opacity if scene.has("Myopia") else 0.0)
    shut = 0.7 * scene.difficulty.opacity if scene.has("Glaucoma") else 0.0
    texture = scene.stream("UBM/texture")
    lumpy = np.clip(0.85 + 0.2 * canvas.clouds(texture, 40), 0, 1.2)
    canvas.paint(np.ones_like(canvas.x), 0.02 + 0.04 * scene.level("age"))
    cornea = canvas.between(outer, inner, 0.006)
    sclera = canvas.between(outer - 0.01, outer + 0.11 + 0.02 * tissue, 0.01) * (np.abs(off)[None, :] > 0.34)
    canvas.paint(cornea * lumpy, 0.50)
    canvas.paint(canvas.between(outer, outer + 0.012, 0.004) + canvas.between(inner - 0.008, inner, 0.004), 0.85)
    canvas.paint(sclera * lumpy, 0.80)
    floor = 0.14 + thick + depth
    pupil = 0.08 + 0.07 * size
    bow = (0.10 - 0.12 * shut) * np.clip(np.abs(off) - pupil, 0, 1) * 1.2 - shut * 0.16 * np.sin(
        np.pi * np.clip((np.abs(off) - pupil) / 0.26, 0, 1)
    )
    iris_top = (floor + bow).astype(np.float32)
    iris_mask = canvas.between(iris_top, iris_top + np.float32(0.045 + 0.025 * tissue), 0.006)
    iris_mask *= ((np.abs(off) > pupil) & (np.abs(off) < 0.37))[None, :]
    canvas.paint(iris_mask * lumpy, 0.45 + 0.35 * scene.level("pigment"))
    back = (iris_top + 0.045 + 0.025 * tissue).astype(np.float32)
    canvas.paint(canvas.between(back - 0.012, back, 0.004) * (iris_mask > 0.2), 0.9)
    body_width = 0.045 + 0.05 * scene.level("vessel")
    for side in (-1, 1):
        canvas.paint(canvas.ellipse(mid + side * 0.37, floor + 0.11, body_width, 0.10, soft=0.02) * lumpy, 0.55)
    lens = canvas.ellipse(mid, floor + 0.235, 0.30, 0.225, soft=0.008)
    front = np.clip(lens - canvas.ellipse(mid, floor + 0.250, 0.30, 0.225, soft=0.008), 0, 1)
    canvas.paint(front, 0.85)
    chamber = canvas.between(inner, iris_top, 0.004) * (np.abs(off) < 0.36)[None, :]
    scene.keep("cornea", cornea)
    scene.keep("iris", iris_mask)
    scene.keep("lens", lens)
    scene.keep("chamber", chamber)
    spur = 0.36
    for name, side in (("scleral_spur_left", -1), ("scleral_spur_right", 1)):
        scene.geometry.points[name] = (mid + side * spur, float(np.interp(mid + side * spur, x, inner)))
    for name, side in (("iris_root_left", -1), ("iris_root_right", 1)):
        scene.geometry.points[name] = (mid + side * spur, float(np.interp(mid + side * spur, x, iris_top)))
    if scene.has("Cataract"):
        scene.sign("Cataract", lens * lumpy, 0.55, 0.85)
    if scene.has("Retinal Detachment"):
        scene.sign(
            "Retinal Detachment", canvas.between(floor + 0.30 + 0.5 * off**2, floor + 0.32 + 0.5 * off**2), 0.8, 0.9
        )
    eye = canvas.below(outer)
    _paint(scene, eye, eye, eye)
    canvas.rgb *= (1 + scene.grain_of_tissue(0.35))[..., None]
    speckle = canvas.grain(scene.stream("UBM/speckle"))
    canvas.rgb *= np.clip(1 + 0.25 * speckle, 0, 2)[..., None]
    canvas.rgb *= np.float32(0.75 + 0.5 * scene.level("clarity"))
    scene.capture(0.012, "UBM/capture")
