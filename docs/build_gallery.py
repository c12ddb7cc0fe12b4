"""Draws docs/cams.md and docs/cams/*.jpg: every known CAM, baseline and control on one photograph.

    PYTHONPATH=. python docs/build_gallery.py                        # MobileNetV2 of SYCAM_DATA, else torchvision's own weights

The photograph is one that scikit-learn ships, by danielbuechele, CC BY 2.0. The layer lies before the last ones, so that methods
which coincide on a GAP + linear head differ.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track
from sklearn import datasets
from torchvision.models import MobileNet_V2_Weights

from sycam.cams import AnyCam, Baseline, find_cams
from sycam.errors import Unavailable
from sycam.images import load_images
from sycam.network import Network, load_network
from sycam.run.report.pictures import overlay
from sycam.run.result import cam_heatmaps

HERE = Path(__file__).parent
PHOTOGRAPH = Path(datasets.__file__).parent / "images/china.jpg"
LAYER = "features.13"

MATHS = {
    "CAM": r"w_k = W_{ck}",
    "Grad-CAM": r"w_k = \tfrac1Z\sum_{ij} g_k",
    "Grad-CAM-elementwise": r"M_k = (g_k A_k)_+",
    "Grad-CAM++": r"w_k = \sum_{ij} \frac{g_k^2}{2g_k^2 + (\sum A_k)\,g_k^3}\,(g_k)_+",
    "Grad-CAM++-miswritten": r"w_k = \sum_{ij} \frac{g_k^2}{2g_k^2 + \sum (A_k g_k^3)}\,(g_k)_+",
    "Smooth-Grad-CAM++": r"w_k = \sum_{ij}"
    r" \frac{\overline{g_k^2}}{2\,\overline{g_k^2} + (\sum A_k)\,\overline{g_k^3}}\,(\overline{g_k})_+",
    "XGrad-CAM": r"w_k = \frac{\sum_{ij} g_k A_k}{\sum_{ij} A_k}",
    "HiResCAM": r"M_k = g_k A_k",
    "LayerCAM": r"M_k = (g_k)_+ A_k",
    "Integrated-Grad-CAM": r"w_k = \tfrac1Z\sum_{ij} A_k\,\tfrac1n\sum_{t=1}^n g_k(\tfrac tn x)",
    "ShapleyCAM": r"w_k = \tfrac1Z\sum_{ij} \big(\nabla u - \tfrac12 (\nabla^2 u)A\big)_k,\ u = y + \log p",
    "FinerCAM": r"w_k = \tfrac1Z\sum_{ij} \partial\,\frac{\sum_d p_d\,(y - \gamma y_d)}{\sum_d p_d} \big/ \partial A_k",
    "Relevance-CAM": r"w_k = \tfrac1Z\sum_{ij} R_k(y)",
    "Relevance-CAM-contrastive": r"w_k = \tfrac1Z\sum_{ij} R_k\big(1_c - \tfrac1C 1_{d \ne c}\big)",
    "Ablation-CAM": r"w_k = \frac{y - y_k}{y}",
    "Ablation-CAM-slope": r"w_k = \frac{y - y_k}{\lVert A_k\rVert_2}",
    "LIFT-CAM": r"w_k = \sum_{ij} \mathrm{DeepLIFT}(A_k)",
    "SHAP-CAM": r"w_k = \frac1{|\Pi|}\sum_{\pi\in\Pi} y(\pi_{\le k}) - y(\pi_{<k})",
    "Score-CAM": r"w_k = S_k",
    "Score-CAM-softmax": r"w_k = \mathrm{softmax}_k(S_k)",
    "Score-CAM-softmax-logits": r"w_k = \mathrm{softmax}_k\big(y(x \odot n(\uparrow A_k))\big)",
    "SS-CAM": r"w_k = \tfrac1n\sum_{i=1}^n p\big(x \odot n(\uparrow A_k + \varepsilon_i)\big)",
    "IS-CAM": r"w_k = \tfrac1n\sum_{i=1}^n p\big(x \odot \tfrac in\,n(\uparrow A_k)\big)",
    "Opti-CAM": r"w = \mathrm{softmax}(u),"
    r"\ u = \arg\max_u\, y\big(x \odot n(\uparrow\textstyle\sum_k \mathrm{softmax}(u)_k A_k)\big)",
    "FEM": r"M_k = \bar A_k\,[A_k > \bar A_k + 2\sigma_k]",
    "FEM-share": r"w_k = \tfrac1Z\sum_{ij} [A_k > \bar A_k + 2\sigma_k]",
    "EigenCAM": r"L = A v_1,\ A = U\Sigma V^\top",
    "EigenCAM-centred": r"L = (A - \bar A) v_1,\ A - \bar A = U\Sigma V^\top",
    "Eigen-Grad-CAM": r"L = (X - \bar X) v_1,\ X = g A",
    "FullGrad": r"L = \psi(\nabla_x y \odot x) +"
    r" \sum_{l,k} \psi\big((\nabla_{b} y \odot b)_{lk}\big),\ \psi = \uparrow n(|\cdot|)",
    "Group-CAM": r"L = \sum_m \big(p(x \odot M_m + \tilde x \odot (1 - M_m)) - p(\tilde x)\big) M_m",
    "Integrated-Grad-CAM-published": r"L = \tfrac1n\sum_t \big(\textstyle\sum_k \overline{g_k(x_t)}\,(A_k(x_t) - A_k(0))\big)_+",
    "Poly-CAM-plus": r"P_l = \mathrm{LNorm}\big((\textstyle\sum_k w_k A_k)_+\big)\uparrow P_{l+1},\ w_k = p(x \odot M_k)",
    "Poly-CAM-minus": r"w_k = \big(p(x) - p(x \odot (1 - M_k))\big)_+",
    "Poly-CAM": r"w_k = \big(p(x \odot M_k) + p(x) - p(x \odot (1 - M_k))\big)_+",
    "ReciproCAM": r"L_{ij} = p\big(A_{ij}\ \mathrm{alone}\big)",
    "Fake-CAM": r"L_{ij} = [(i, j) \ne (0, 0)]",
    "Random-CAM": r"w_k \sim U(-1, 1)",
    "Centre-Gaussian": r"L = \exp(-r^2 / 2\sigma^2)",
}

HEAD = """# Every CAM that sycam knows

Drawn by `docs/build_gallery.py`: torchvision's MobileNetV2 says **{name}** (p = {p:.2f}), and every heatmap explains that
class at the layer `{layer}` ({K} channels of {h}×{w}). Names are those of `sycam list cams`; `sycam score all` puts
them in one table, `sycam explain NAME photo.jpg` draws one.

![The photograph](cams/image.jpg)

Photograph: [danielbuechele](https://www.flickr.com/photos/danielbuechele/6061409035/), CC BY 2.0, as scikit-learn ships it,
cropped; in the pictures below with a heatmap over it.

Notation: $A_k$ activations of channel $k$, $g_k = \\partial y/\\partial A_k$, $Z$ pixels of a map, $y$ logit and $p$ probability
of the class, $y_k$ the logit with $A_k$ set to 0, $n$ min-max to [0, 1], $\\uparrow$ bilinear upsampling, $(\\cdot)_+$ ReLU,
$S_k = p(x \\odot n(\\uparrow A_k))$. Channel weights $w_k$ stand for the heatmap $n(\\uparrow(\\sum_k w_k A_k)_+)$, contributions
$M_k$ for $n(\\uparrow(\\sum_k M_k)_+)$, a map $L$ for $n(\\uparrow L_+)$.

On a network with global average pooling and one linear layer after the target layer many of these coincide: CAM, Grad-CAM,
XGrad-CAM and HiResCAM draw one heatmap there, and the weights of LIFT-CAM, SHAP-CAM and Ablation-CAM differ by a factor. After
this layer come convolutions, which keep them apart.

Extremal perturbation is not here: torchray, its authors' library, is the only one that has it, and is not kept up.
[agreement.md](agreement.md) says which of them other programs compute the same.
"""

TITLES = {
    "known": "Terms: `grammars/known.sy`",
    "baseline": "Baselines: no terms, Python",
    "control": "Controls: heatmaps that explain nothing",
}


def main() -> None:
    """Writes the page and its pictures."""
    network = mobilenet()
    images = load_images(PHOTOGRAPH, network.preprocessing)
    pixels, batch = images.pixels[0], images.normalised([0], network)
    probabilities = network.logits(batch).softmax(1)[0]
    c = int(probabilities.argmax())
    (HERE / "cams").mkdir(exist_ok=True)
    save(np.asarray(pixels.permute(1, 2, 0)), "image")
    head = HEAD.format(
        name=MobileNet_V2_Weights.DEFAULT.meta["categories"][c], p=float(probabilities[c]), layer=network.layer,
        K=network.channels, h=network.map_size[0], w=network.map_size[1],
    )  # fmt: skip
    page, kind = [head], ""
    cams = find_cams("all")
    assert {cam.name for cam in cams} == set(MATHS), {cam.name for cam in cams} ^ set(MATHS)
    whole = None
    for cam in track(cams):
        if cam.kind != kind:
            kind = cam.kind
            page.append(f"\n## {TITLES[kind]}\n")
        classes, note = probabilities.new_tensor([c]).long(), ""
        try:
            heatmap = cam_heatmaps([cam], network, batch, classes)[0, 0].cpu()
        except Unavailable:  # it asks for a GAP + linear head after the layer
            whole = whole or mobilenet(None)
            heatmap, note = cam_heatmaps([cam], whole, batch, classes)[0, 0].cpu(), f"At the layer `{whole.layer}`. "
        save(overlay(pixels, heatmap), plain(cam.name))
        page.append(entry(cam, f"![{cam.name}](cams/{plain(cam.name)}.jpg)", note))
    (HERE / "cams.md").write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")


def entry(cam: AnyCam, picture: str, note: str) -> str:
    """A CAM's section."""
    expression = cam.doc.split("\n\n")[0].replace("\n", " ") if isinstance(cam, Baseline) else f"`{cam.expression}`"
    cost = f"{note}Cost: {cam.passes}. {cam.reference.rstrip('.')}."
    return f"### {cam.name}\n\n{picture}\n\n$${MATHS[cam.name]}$$\n\n{expression}\n\n{cost}\n"


def mobilenet(layer: str | None = LAYER) -> Network:
    """MobileNetV2, cut at a layer, with the weights in SYCAM_DATA, or those that torchvision downloads."""
    folder = Path(os.environ.get("SYCAM_DATA", HERE.parent.parent / "shared/data"))
    file = folder / "weights/mobilenet_v2.safetensors"
    if file.is_file():
        return load_network("mobilenet_v2", weights=file, layer=layer, resize=256, mean=0.5, std=0.5)
    return load_network("mobilenet_v2", weights="DEFAULT", layer=layer)


def save(picture: np.ndarray, name: str) -> None:
    """As JPEG, a fifth of the bytes of PNG."""
    Image.fromarray(picture).save(HERE / "cams" / f"{name}.jpg", quality=88)


def plain(name: str) -> str:
    """A name as a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("+", "p")).strip("-")


if __name__ == "__main__":
    main()
